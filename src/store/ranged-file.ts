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
import { type ByteFile, type OpenOptions, type ReadOptions, requireWithin } from './byte-store.js';
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
  opening: OpenOptions = {},
): Promise<ByteFile> {
  const { name, options, limit } = source;
  const { signal } = opening;
  const [first, end] = firstRange(opening);
  const file = await withRetries(options, signal, () =>
    limit.run(async () => {
      using attempt = new Attempt(name, end - first, options, signal);
      const answer = await source.ask(rangeOf(first, end - first), undefined, attempt);
      const { status, headers } = answer;
      const version = { etag: headers.etag, lastModified: headers['last-modified'] };
      if (isEmpty(answer)) {
        answer.body.destroy();
        return new RangedFile(source, { ...version, size: 0 }, NOTHING);
      }
      if (status === 416 && first > 0) {
        answer.body.destroy();
        return undefined;
      }
      requireRange(name, answer);
      const size = requireTotal(name, answer);
      const last = Math.min(end, size) - 1;
      requireExactly(name, answer, { first, last, size });
      const received = { into: new Uint8Array(last + 1 - first), bytes: 0 };
      await readBody(name, answer.body, received, attempt);
      return new RangedFile(source, { ...version, size }, { begin: first, bytes: received.into });
    }),
  );
  // Shorter than its reader thinks.
  return file ?? openRanged(source, { signal });
}

/** What is asked for with the opening: first byte, and the byte after the last. */
function firstRange({ tail, cached }: OpenOptions): readonly [number, number] {
  const known = tail?.();
  if (known === undefined) return [0, HEAD_BYTES];
  const { begin, soon, end } = known;
  return [cached ? begin : Math.max(0, Math.min(soon, end - HEAD_BYTES)), end];
}

/** Bytes of a file from `begin` on. */
interface Piece {
  readonly begin: number;
  readonly bytes: Uint8Array;
}

const NOTHING: Piece = { begin: 0, bytes: new Uint8Array(0) };

class RangedFile implements ByteFile {
  readonly name: string;
  readonly size: number;
  readonly version: string | undefined;
  readonly #source: RangeSource;
  readonly #pinned: Version;
  /** What came with the opening; dropped once something else was read. */
  #held: Piece;

  constructor(source: RangeSource, pinned: Version, held: Piece) {
    this.#source = source;
    this.#pinned = pinned;
    this.#held = held;
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
    if (!fresh && this.holds(offset, into.length)) {
      const at = offset - this.#held.begin;
      into.set(this.#held.bytes.subarray(at, at + into.length));
      return;
    }
    this.#held = NOTHING;
    const received = { into, bytes: 0 };
    const { options, limit } = this.#source;
    await withRetries(options, signal, () =>
      limit.run(() => this.#readRest(offset, received, signal)),
    );
  }

  holds(offset: number, length: number): boolean {
    const { begin, bytes } = this.#held;
    return offset >= begin && offset + length <= begin + bytes.length;
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
    this.#held = NOTHING;
  }
}

function rangeOf(first: number, length: number): string {
  return `bytes=${first}-${first + length - 1}`;
}
