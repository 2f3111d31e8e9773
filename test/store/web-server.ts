import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll } from 'vitest';

/** A request for a file, as the server understood it. */
export interface Asked {
  /** Number of the request, from 0. */
  readonly index: number;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  /** Both included, within the file. */
  readonly first: number;
  readonly last: number;
  readonly bytes: Uint8Array;
}

/** Answers a request in another way than it should; false to leave it to the server. */
export type Misbehaviour = (asked: Asked, response: ServerResponse) => boolean;

/** A web server on the loopback interface that answers ranges rightly, unless it is told to misbehave. */
export class WebServer {
  readonly files = new Map<string, Uint8Array>();
  readonly etags = new Map<string, string>();
  readonly asked: Asked[] = [];
  misbehave: Misbehaviour = () => false;
  /** Bytes of bodies sent. */
  sent = 0;
  url = '';
  #server: Server | undefined;

  static async start(tls?: { readonly key: string; readonly cert: string }): Promise<WebServer> {
    const web = new WebServer();
    const onRequest = (request: IncomingMessage, response: ServerResponse) =>
      web.#answer(request, response);
    const server = tls === undefined ? createServer(onRequest) : createSecureServer(tls, onRequest);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    web.url = `http${tls === undefined ? '' : 's'}://127.0.0.1:${port}`;
    web.#server = server;
    afterAll(() => web.stop());
    return web;
  }

  /** Forgets what was asked for. */
  reset(): void {
    this.asked.length = 0;
    this.sent = 0;
    this.misbehave = () => false;
  }

  async stop(): Promise<void> {
    this.#server?.closeAllConnections();
    await new Promise((resolve) => this.#server?.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent((request.url ?? '').split('?')[0] ?? '').slice(1);
    const bytes = this.files.get(path) ?? new Uint8Array(0);
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const first = Number(from ?? 0);
    const last = Math.min(Number(to ?? Number.POSITIVE_INFINITY), bytes.length - 1);
    const { headers } = request;
    const asked = { index: this.asked.length, path, headers, first, last, bytes };
    this.asked.push(asked);
    if (this.misbehave(asked, response)) return;
    if (!this.files.has(path)) {
      response.writeHead(404).end();
      return;
    }
    const etag = this.etags.get(path) ?? '"one"';
    const match = request.headers['if-match'];
    if (match !== undefined && match !== etag) response.writeHead(412).end();
    else if (first > last) {
      response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
    } else this.range(asked, response, { etag });
  }

  /** The right answer, with other headers or another body if given. */
  range(
    { first, last, bytes }: Asked,
    response: ServerResponse,
    headers: Readonly<Record<string, string | undefined>> = {},
    body: Uint8Array = bytes.subarray(first, last + 1),
  ): void {
    const all = {
      etag: '"one"',
      'content-range': `bytes ${first}-${last}/${bytes.length}`,
      'content-length': String(body.length),
      ...headers,
    };
    const kept = Object.entries(all).filter(([, value]) => value !== undefined);
    response.writeHead(206, Object.fromEntries(kept));
    this.sent += body.length;
    response.end(body);
  }
}

/** Bytes that differ at every place. */
export function noise(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
