import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { argument, FieldChecker } from '../core/check.js';
import { errorMessage, isSoftpackError, SoftpackError } from '../errors.js';
import type { OpenReport } from './report.js';
import { type ShownLabel, showLabels } from './shown-label.js';
import type { ShownText } from './texts.js';

/** The page of an archive and its labels, to browsers of this machine alone. */
export interface ReportServer extends AsyncDisposable {
  readonly url: string;
}

const ADDRESS = '127.0.0.1';
/** Labels or texts per answer. */
const MOST = 48;

const HEADERS = {
  'cache-control': 'no-store',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

/**
 * Serves a page on 127.0.0.1, with `labels.json?row=&start=&count=` or `texts.json?start=&count=` of the archive. No request
 * names a file.
 *
 * @param port 0: any free one.
 */
export async function serveReport(open: OpenReport, page: string, port = 0): Promise<ReportServer> {
  argument.count(port, 'port', 0, 65_535);
  const server = createServer((request, response) => {
    answer(open, page, request, server).then(
      (reply) => send(response, request, reply),
      (error: unknown) => send(response, request, failure(error)),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(portError(port, cause)));
    server.listen({ port, host: ADDRESS, exclusive: true }, resolve);
  });
  return {
    url: `http://${ADDRESS}:${portOf(server)}/`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

interface Reply {
  readonly status: number;
  readonly type: 'text/html' | 'application/json';
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

async function answer(
  open: OpenReport,
  page: string,
  { method, url = '/', headers }: IncomingMessage,
  server: Server,
): Promise<Reply> {
  // A name of another site that leads here is not this page: its scripts must not read the archive.
  const hosts = [ADDRESS, 'localhost'].map((name) => `${name}:${portOf(server)}`);
  if (!hosts.includes(headers.host ?? '')) return json(403, { error: 'not the host of this page' });
  if (method !== 'GET' && method !== 'HEAD') {
    return { ...json(405, { error: 'only GET' }), headers: { allow: 'GET, HEAD' } };
  }
  const base = `http://${ADDRESS}`;
  if (!URL.canParse(url, base)) return json(400, { error: 'not an address' });
  const { pathname, searchParams } = new URL(url, base);
  switch (pathname) {
    case '/':
      return { status: 200, type: 'text/html', body: page };
    case '/labels.json':
      return json(200, { labels: await labelsOf(open, searchParams) });
    case '/texts.json':
      return json(200, { texts: await textsOf(open, searchParams) });
    default:
      return json(404, { error: 'no such page' });
  }
}

const check = new FieldChecker('', 'INVALID_ARGUMENT');

/** A number of a request. */
function numberOf(query: URLSearchParams, name: string, low: number, high: number): number {
  const text = query.get(name) ?? '';
  return check.count(/^\d+$/.test(text) ? Number(text) : text, name, low, high);
}

async function labelsOf(open: OpenReport, query: URLSearchParams): Promise<readonly ShownLabel[]> {
  const { epochs, samples } = open.archive;
  check.that(open.texts === undefined, 'texts', 'archive', 'labels of images');
  const row = numberOf(query, 'row', 0, epochs - 1);
  const start = numberOf(query, 'start', 0, samples - 1);
  const count = Math.min(numberOf(query, 'count', 1, MOST), samples - start);
  return showLabels(
    open,
    row,
    Uint32Array.from({ length: count }, (_, i) => start + i),
  );
}

async function textsOf(
  { texts }: OpenReport,
  query: URLSearchParams,
): Promise<readonly ShownText[]> {
  if (texts === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not an archive of texts', { field: 'archive' });
  }
  const start = numberOf(query, 'start', 0, texts.texts - 1);
  const count = Math.min(numberOf(query, 'count', 1, MOST), texts.texts - start);
  const shown: ShownText[] = [];
  for (let i = 0; i < count; i++) shown.push(await texts.show(start + i));
  return shown;
}

function json(status: number, content: object): Reply {
  return { status, type: 'application/json', body: JSON.stringify(content) };
}

function failure(error: unknown): Reply {
  const asked = isSoftpackError(error) && error.code === 'INVALID_ARGUMENT';
  return json(asked ? 400 : 500, { error: errorMessage(error) });
}

function send(response: ServerResponse, { method }: IncomingMessage, reply: Reply): void {
  const { status, type, body, headers } = reply;
  response.writeHead(status, {
    ...HEADERS,
    ...headers,
    'content-type': `${type}; charset=utf-8`,
    'content-length': Buffer.byteLength(body),
  });
  response.end(method === 'HEAD' ? undefined : body);
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo | null)?.port ?? 0;
}

function portError(port: number, cause: NodeJS.ErrnoException): SoftpackError {
  const taken = cause.code === 'EADDRINUSE';
  const message = taken ? 'this port is in use' : `cannot listen: ${cause.message}`;
  const details = { field: 'port', expected: 'a free port, or 0 for any', found: port, cause };
  return new SoftpackError('INVALID_ARGUMENT', message, details);
}
