import * as http from 'node:http';
import * as https from 'node:https';
import { shownAddress } from './address.js';
import type { Attempt } from './attempt.js';
import { networkFailed } from './network-error.js';

/** Requests of HTTP/1.1 with their redirects followed, below everything that knows of files and ranges. */

const MAX_REDIRECTS = 10;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Longer answers that nobody reads cost less as a new connection. */
const MAX_DISCARDED = 65_536;

/** Connections of one store, which are used again. */
export interface Connections {
  readonly http: http.Agent;
  readonly https: https.Agent;
}

export function openConnections(most: number, ca: string | undefined): Connections {
  const options = { keepAlive: true, maxSockets: most, maxFreeSockets: most };
  return {
    http: new http.Agent(options),
    https: new https.Agent({ ...options, ...(ca === undefined ? {} : { ca }) }),
  };
}

export interface Request {
  /** For error messages. */
  readonly name: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent to the first host only, never to one that it redirects to. */
  readonly secrets: Readonly<Record<string, string>>;
}

/** The answer to a GET, after at most ten redirects; its body is still to be read. */
export async function get(
  request: Request,
  connections: Connections,
  attempt: Attempt,
): Promise<http.IncomingMessage> {
  const { name, url: first, headers, secrets } = request;
  const seen = new Set<string>();
  let url = first;
  for (;;) {
    seen.add(url.href);
    const sent = url.origin === first.origin ? { ...headers, ...secrets } : headers;
    const answer = await send(url, sent, connections, attempt);
    const { location } = answer.headers;
    if (!REDIRECTS.has(answer.statusCode ?? 0) || location === undefined) return answer;
    await discard(answer, attempt);
    url = redirected(name, url, location);
    if (seen.has(url.href)) throw networkFailed(name, 'redirects go in a circle');
    if (seen.size > MAX_REDIRECTS) {
      throw networkFailed(name, 'too many redirects', { expected: `at most ${MAX_REDIRECTS}` });
    }
  }
}

function send(
  url: URL,
  headers: Readonly<Record<string, string>>,
  connections: Connections,
  { signal }: Attempt,
): Promise<http.IncomingMessage> {
  const secure = url.protocol === 'https:';
  const agent = secure ? connections.https : connections.http;
  const { request } = secure ? https : http;
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, headers, signal });
    sent.on('response', (answer) => {
      // Whoever reads the body gets its errors; those of bodies that nobody reads must not be uncaught.
      answer.on('error', () => undefined);
      resolve(answer);
    });
    sent.on('error', reject);
    sent.end();
  });
}

/** Where an answer points; never from https to http, nor to anything but a web server. */
export function redirected(name: string, from: URL, location: string): URL {
  let to: URL;
  try {
    to = new URL(location, from);
  } catch (cause) {
    throw networkFailed(name, 'redirect to what is no address', { found: location, cause });
  }
  if (to.protocol !== 'https:' && to.protocol !== 'http:') {
    const found = shownAddress(to);
    throw networkFailed(name, 'redirect to what is no web server', { found });
  }
  if (from.protocol === 'https:' && to.protocol === 'http:') {
    const found = shownAddress(to);
    throw networkFailed(name, 'redirect from https to http, which anybody could read', { found });
  }
  // Passwords come from the caller, not from a server; fragments are never sent, and would hide a circle.
  to.username = '';
  to.password = '';
  to.hash = '';
  return to;
}

/** Reads a short body that nobody needs, so that its connection is used again; a longer one ends the connection. */
async function discard(answer: http.IncomingMessage, attempt: Attempt): Promise<void> {
  const length = Number(answer.headers['content-length'] ?? Number.NaN);
  if (!(length <= MAX_DISCARDED)) {
    answer.destroy();
    return;
  }
  for await (const _ of answer) attempt.touch();
}
