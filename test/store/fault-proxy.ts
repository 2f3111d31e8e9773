import { request as ask, createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { randomStream } from '../kernels/support.js';

/** What becomes of a request that goes wrong. */
const FAULTS = ['refused', 'slow down', 'reset', 'answer lost', 'body cut'] as const;
type Fault = (typeof FAULTS)[number];

/** A proxy before a server, at which a seeded share of all requests goes wrong. */
export class FaultProxy {
  /** Faults so far, by kind. */
  readonly faults = new Map<Fault, number>();
  /** Share of the requests. */
  share = 0;
  /** Status that requests get instead of an answer, if any. */
  status: (request: IncomingMessage) => number | undefined = () => undefined;
  readonly #target: URL;
  readonly #random: () => number;
  readonly #server = createServer((request, response) => {
    this.#serve(request, response).catch(() => response.destroy());
  });

  private constructor(target: string, seed: number) {
    this.#target = new URL(target);
    this.#random = randomStream(seed);
  }

  static async start(target: string, seed: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target, seed);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get endpoint(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #fault(): Fault | undefined {
    if (this.#random() >= this.share) return undefined;
    const fault = FAULTS[Math.floor(this.#random() * FAULTS.length)] as Fault;
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
    return fault;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    const status = this.status(request);
    if (status !== undefined) {
      response.writeHead(status).end();
      return;
    }
    const fault = this.#fault();
    if (fault === 'refused') response.writeHead(503).end();
    else if (fault === 'slow down') {
      response.writeHead(503).end('<Error><Code>SlowDown</Code><Message>later</Message></Error>');
    } else if (fault === 'reset') response.destroy();
    else {
      const [head, bytes] = await this.#forward(request, body);
      if (fault === 'answer lost') {
        response.destroy();
        return;
      }
      response.writeHead(head.statusCode ?? 502, head.headers);
      if (fault !== 'body cut' || bytes.length < 2) response.end(bytes);
      else response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
    }
  }

  async #forward(request: IncomingMessage, body: Buffer): Promise<[IncomingMessage, Buffer]> {
    const { hostname, port } = this.#target;
    const { method, url: path, headers } = request;
    // The signature covers the name of the host that the client asked.
    const forwarded = ask({ hostname, port, method, path, headers, setHost: false });
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      forwarded.on('response', resolve).on('error', reject);
    });
    forwarded.end(body);
    const head = await answer;
    return [head, await buffer(head)];
  }
}
