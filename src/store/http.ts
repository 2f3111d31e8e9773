import { type IncomingMessage, validateHeaderName, validateHeaderValue } from 'node:http';
import { SoftpackError } from '../errors.js';
import { nameIn, parseAddress, shownAddress } from './address.js';
import { type Answer, failureOf } from './answer.js';
import type { Attempt, TimeLimits } from './attempt.js';
import type { ByteStore } from './byte-store.js';
import { type Connections, get, openConnections } from './exchange.js';
import { networkError } from './network-error.js';
import { openRanged, type RangeSource, requireLimits } from './ranged-file.js';
import { RequestLimit } from './request-limit.js';
import type { RetryOptions } from './retry.js';

export interface HttpOptions extends RetryOptions, TimeLimits {
  /** Sent with every request, e.g. `Authorization`; to no other host that the server redirects to. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Certificates of authorities to trust, PEM; default those of Node.js and of NODE_EXTRA_CA_CERTS. */
  readonly ca?: string;
  /** Requests at a time. Default 8. */
  readonly requests?: number;
}

/**
 * A folder on a web server. Every file is read by ranges of the version that was opened: an answer must be exactly the
 * range that was asked for, and the same version.
 */
export function httpStore(address: string, options: HttpOptions = {}): ByteStore {
  const folder = parseAddress(address);
  requireLimits('http', options);
  requireHeaders(options.headers ?? {});
  const secrets = { ...options.headers, ...basicAuthorization(folder) };
  folder.username = '';
  folder.password = '';
  folder.hash = '';
  const requests = options.requests ?? 8;
  const client: Client = {
    options,
    secrets,
    connections: openConnections(requests, options.ca),
    limit: new RequestLimit(requests),
  };
  return {
    name: shownAddress(folder).replace(/\?\.\.\.$/, ''),
    open(key, opening) {
      const url = new URL(folder);
      url.pathname = nameIn(folder.pathname, key.split('/').map(encodeURIComponent).join('/'));
      return openRanged(sourceOf(client, url), opening);
    },
  };
}

/** What the files of a store share. */
interface Client {
  readonly options: HttpOptions;
  readonly secrets: Readonly<Record<string, string>>;
  readonly connections: Connections;
  readonly limit: RequestLimit;
}

function basicAuthorization({ username, password }: URL): Readonly<Record<string, string>> {
  if (username === '' && password === '') return {};
  const text = [username, password].map(decodedPart).join(':');
  return { authorization: `Basic ${Buffer.from(text).toString('base64')}` };
}

function decodedPart(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    const details = { field: 'address', expected: 'user:password with % as %25' };
    throw new SoftpackError('INVALID_ARGUMENT', 'user or password cannot be decoded', details);
  }
}

/** `INVALID_ARGUMENT` naming the header, without its value, which may be secret. */
function requireHeaders(headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) {
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
    } catch {
      const details = { field: `headers: ${name}`, expected: 'printable text on one line' };
      throw new SoftpackError('INVALID_ARGUMENT', 'not a header of HTTP', details);
    }
  }
}

function sourceOf(client: Client, url: URL): RangeSource {
  const name = shownAddress(url);
  const { options, limit } = client;
  return {
    name,
    id: url.href,
    options,
    limit,
    ask(range, ifMatch, attempt) {
      const headers = { range, ...(ifMatch !== undefined && { 'if-match': ifMatch }) };
      return ask(client, name, url, headers, attempt);
    },
  };
}

/** The head of an answer that is neither a failure of the server nor a refusal. */
async function ask(
  { connections, secrets }: Client,
  name: string,
  url: URL,
  headers: Readonly<Record<string, string>>,
  attempt: Attempt,
): Promise<Answer> {
  // Ranges of compressed bytes would be of no use.
  const sent = { ...headers, 'accept-encoding': 'identity', 'user-agent': 'softpack' };
  let body: IncomingMessage;
  try {
    body = await get({ name, url, headers: sent, secrets }, connections, attempt);
  } catch (cause) {
    throw attempt.reasonOr(networkError(name, cause));
  }
  attempt.touch();
  const answer = { status: body.statusCode ?? 0, headers: body.headers, body };
  const failure = failureOf(name, answer);
  if (failure === undefined) return answer;
  body.destroy();
  throw failure;
}
