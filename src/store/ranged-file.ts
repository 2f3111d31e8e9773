import { argument } from '../core/check.js';
import {
  type Answer,
  changed,
  isEmpty,
  requireExactly,
  requireRange,
  requireTotal,
} from './answer.js';
import { Attempt, type TimeLimits } from './attempt.js';
import { type Received, readBody } from './body.js';
import { type ByteFile, type ReadOptions, requireWithin } from './byte-store.js';
import { differs, isStrong, type Version } from './range.js';
import type { RequestLimit } from './request-limit.js';
import { type RetryOptions, withRetries } from './retry.js';

/** A file that a server sends by ranges. */
export interface RangeSource {
  /** For error messages. */
  readonly name: string;
  /** Names the file in caches, together with its version. */
  readonly id: string;
  readonly options: RetryOptions & TimeLimits;
  readonly limit: RequestLimit;
  /**
   * Asks for a range, of the version `ifMatch` only. Statuses 200, 206, 412 and 416 are returned, any other failure is
   * thrown.
   */
  ask(range: string, ifMatch: string | undefined, attempt: Attempt): Promise<Answer>;
}

/** `INVALID_ARGUMENT` for limits that no request could keep; `field` is where they stand, e.g. `http`. */
export function requireLimits(
  field: string,
  limits: RetryOptions & TimeLimits & { readonly requests?: number },
): void {
  const { retries = 0, backoffMs = 0, stallMs = 1, attemptMs = 1, requests = 1 } = limits;
  argument.count(retries, `${field}.retries`, 0, 1000);
  argument.count(backoffMs, `${field}.backoffMs`, 0, MOST_MS);
  argument.count(stallMs, `${field}.stallMs`, 1, MOST_MS);
  argument.count(attemptMs, `${field}.attemptMs`, 1, MOST_MS);
  argument.count(requests, `${field}.requests`, 1, 1024);
}

/** A day; timers of Node.js end at 25. */
const MOST_MS = 86_400_000;

/** Read with the request that opens a file: headers and small files cost no request of their own. */
const HEAD_BYTES = 32_768;

/** Opens the version that the server has now; every later answer must be the same version and exactly its range. */
export async function openRanged(
  source: RangeSource,
  signal: AbortSignal | undefined,
): Promise<ByteFile> {
  const { name, options, limit } = source;
  return withRetries(options, signal, () =>
    limit.run(async () => {
      using attempt = new Attempt(name, HEAD_BYTES, options, signal);
      const answer = await source.ask(rangeOf(0, HEAD_BYTES), undefined, attempt);
      const { headers } = answer;
      const version = { etag: headers.etag, lastModified: headers['last-modified'] };
      if (isEmpty(answer)) {
        answer.body.destroy();
        return new RangedFile(source, { ...version, size: 0 }, new Uint8Array(0));
      }
      requireRange(name, answer);
      const size = requireTotal(name, answer);
      const length = Math.min(HEAD_BYTES, size);
      requireExactly(name, answer, { first: 0, last: length - 1, size });
      const received = { into: new Uint8Array(length), bytes: 0 };
      await readBody(name, answer.body, received, attempt);
      return new RangedFile(source, { ...version, size }, received.into);
    }),
  );
}

class RangedFile implements ByteFile {
  readonly name: string;
  readonly size: number;
  readonly version: string | undefined;
  readonly #source: RangeSource;
  readonly #pinned: Version;
  /** The first bytes; dropped once something else was read. */
  #head: Uint8Array;

  constructor(source: RangeSource, pinned: Version, head: Uint8Array) {
    this.#source = source;
    this.#pinned = pinned;
    this.#head = head;
    this.name = source.name;
    this.size = pinned.size;
    const { etag, lastModified } = pinned;
    if (etag !== undefined || lastModified !== undefined) {
      this.version = JSON.stringify([source.id, etag ?? lastModified, pinned.size]);
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
    const { options, limit } = this.#source;
    await withRetries(options, signal, () =>
      limit.run(() => this.#readRest(offset, received, signal)),
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
    using attempt = new Attempt(name, length, this.#source.options, signal);
    const { etag } = this.#pinned;
    const ifMatch = isStrong(etag) ? etag : undefined;
    const answer = await this.#source.ask(rangeOf(first, length), ifMatch, attempt);
    this.#requireVersion(answer);
    requireRange(name, answer);
    requireExactly(name, answer, { first, last: first + length - 1, size });
    await readBody(name, answer.body, received, attempt);
  }

  #requireVersion({ status, headers, body }: Answer): void {
    const { etag, lastModified } = this.#pinned;
    if (status === 412 || status === 416) {
      body.destroy();
      throw changed(this.name, `status ${status}`);
    }
    if (!differs(this.#pinned, headers)) return;
    body.destroy();
    const found = etag === undefined ? headers['last-modified'] : headers.etag;
    throw changed(this.name, found, etag ?? lastModified);
  }

  async close(): Promise<void> {
    this.#head = new Uint8Array(0);
  }
}

function rangeOf(first: number, length: number): string {
  return `bytes=${first}-${first + length - 1}`;
}
