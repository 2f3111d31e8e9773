import { type IncomingMessage, validateHeaderName, validateHeaderValue } from 'node:http';
import { SoftpackError } from '../errors.js';
import { nameIn, parseAddress, shownAddress } from './address.js';
import { Attempt, type TimeLimits } from './attempt.js';
import { type Received, readBody } from './body.js';
import { type ByteFile, type ByteStore, type ReadOptions, requireWithin } from './byte-store.js';
import { type Connections, discard, get, openConnections } from './exchange.js';
import {
  changed,
  failureOf,
  isEmpty,
  requireExactly,
  requireRange,
  requireTotal,
} from './http-answer.js';
import { networkError } from './network-error.js';
import { differs, isStrong, type Version } from './range.js';
import { RequestLimit } from './request-limit.js';
import { type RetryOptions, withRetries } from './retry.js';

export interface HttpOptions extends RetryOptions, TimeLimits {
  /** Sent with every request, e.g. `Authorization`; to no other host that the server redirects to. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Certificates of authorities to trust, PEM; default those of Node.js and of NODE_EXTRA_CA_CERTS. */
  readonly ca?: string;
  /** Requests at a time. Default 8. */
  readonly requests?: number;
}

/** Read with the request that opens a file: headers and small files cost no request of their own. */
const HEAD_BYTES = 32_768;

/**
 * A folder on a web server. Every file is read by ranges of the version that was opened: an answer must be exactly the
 * range that was asked for, and the same version.
 */
export function httpStore(address: string, options: HttpOptions = {}): ByteStore {
  const folder = parseAddress(address);
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
    open(key, { signal } = {}) {
      const url = new URL(folder);
      url.pathname = nameIn(folder.pathname, key.split('/').map(encodeURIComponent).join('/'));
      return openHttpFile(client, url, signal);
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

async function openHttpFile(
  client: Client,
  url: URL,
  signal: AbortSignal | undefined,
): Promise<HttpFile> {
  const name = shownAddress(url);
  return withRetries(client.options, signal, () =>
    client.limit.run(async () => {
      using attempt = new Attempt(name, HEAD_BYTES, client.options, signal);
      const answer = await ask(client, name, url, rangeOf(0, HEAD_BYTES), attempt);
      const { headers } = answer;
      const version = { etag: headers.etag, lastModified: headers['last-modified'] };
      if (isEmpty(answer)) {
        await discard(answer, attempt);
        return new HttpFile(client, url, { ...version, size: 0 }, new Uint8Array(0));
      }
      await requireRange(name, answer, attempt);
      const size = requireTotal(name, answer);
      const length = Math.min(HEAD_BYTES, size);
      requireExactly(name, answer, { first: 0, last: length - 1, size });
      const received = { into: new Uint8Array(length), bytes: 0 };
      await readBody(name, answer, received, attempt);
      return new HttpFile(client, url, { ...version, size }, received.into);
    }),
  );
}

class HttpFile implements ByteFile {
  readonly name: string;
  readonly size: number;
  /** Strong enough to keep its bytes under this name; undefined if the server tells neither tag nor date. */
  readonly version: string | undefined;
  readonly #client: Client;
  readonly #url: URL;
  readonly #pinned: Version;
  /** The first bytes; dropped once something else was read. */
  #head: Uint8Array;

  constructor(client: Client, url: URL, pinned: Version, head: Uint8Array) {
    this.#client = client;
    this.#url = url;
    this.#pinned = pinned;
    this.#head = head;
    this.name = shownAddress(url);
    this.size = pinned.size;
    const { etag, lastModified } = pinned;
    if (etag !== undefined || lastModified !== undefined) {
      this.version = JSON.stringify([url.href, etag ?? lastModified, pinned.size]);
    }
  }

  async read(offset: number, into: Uint8Array, { signal, fresh }: ReadOptions = {}): Promise<void> {
    requireWithin(this, offset, into.length);
    if (into.length === 0) return;
    if (!fresh && offset + into.length <= this.#head.length) {
      into.set(this.#head.subarray(offset, offset + into.length));
      return;
    }
    this.#head = new Uint8Array(0);
    const received = { into, bytes: 0 };
    await withRetries(this.#client.options, signal, () =>
      this.#client.limit.run(() => this.#readRest(offset, received, signal)),
    );
  }

  /** One attempt at what has not come yet. */
  async #readRest(
    offset: number,
    received: Received,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { name, size } = this;
    // Pieces of different versions must not be put together, and nothing tells versions apart here.
    if (this.version === undefined) received.bytes = 0;
    const first = offset + received.bytes;
    const length = received.into.length - received.bytes;
    using attempt = new Attempt(name, length, this.#client.options, signal);
    const { etag } = this.#pinned;
    const headers = {
      ...rangeOf(first, length),
      ...(isStrong(etag) ? { 'if-match': etag } : {}),
    };
    const answer = await ask(this.#client, name, this.#url, headers, attempt);
    if (answer.statusCode === 412 || answer.statusCode === 416) {
      answer.destroy();
      throw changed(name, `status ${answer.statusCode}`);
    }
    this.#requireVersion(answer);
    await requireRange(name, answer, attempt);
    requireExactly(name, answer, { first, last: first + length - 1, size });
    await readBody(name, answer, received, attempt);
  }

  #requireVersion(answer: IncomingMessage): void {
    const { etag, lastModified } = this.#pinned;
    const { headers } = answer;
    if (!differs(this.#pinned, headers)) return;
    answer.destroy();
    const found = etag === undefined ? headers['last-modified'] : headers.etag;
    throw changed(this.name, found, etag ?? lastModified);
  }

  async close(): Promise<void> {
    this.#head = new Uint8Array(0);
  }
}

function rangeOf(first: number, length: number): Readonly<Record<string, string>> {
  return { range: `bytes=${first}-${first + length - 1}` };
}

/** The head of an answer that is neither a failure of the server nor a refusal. */
async function ask(
  { connections, secrets }: Client,
  name: string,
  url: URL,
  headers: Readonly<Record<string, string>>,
  attempt: Attempt,
): Promise<IncomingMessage> {
  // Ranges of compressed bytes would be of no use.
  const sent = { ...headers, 'accept-encoding': 'identity', 'user-agent': 'softpack' };
  let answer: IncomingMessage;
  try {
    answer = await get({ name, url, headers: sent, secrets }, connections, attempt);
  } catch (cause) {
    throw attempt.reasonOr(networkError(name, cause));
  }
  attempt.touch();
  const failure = failureOf(name, answer);
  if (failure === undefined) return answer;
  answer.destroy();
  throw failure;
}
