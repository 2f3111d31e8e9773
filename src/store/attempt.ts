import { SoftpackError } from '../errors.js';
import { networkFailed, TransientFailure } from './network-error.js';

export interface TimeLimits {
  /** Without a byte for so long, an attempt has failed. Default 20 s. */
  readonly stallMs?: number;
  /** For a whole attempt, besides a second per 128 KiB that were asked for. Default 60 s. */
  readonly attemptMs?: number;
}

const SLOWEST_BYTES_PER_MS = 131_072 / 1000;

/**
 * The limits of one attempt as a signal, whose reason is the error to throw: an attempt ends if nothing comes, if bytes
 * drip in for ever, or if the caller's signal is aborted.
 */
export class Attempt implements Disposable {
  readonly #name: string;
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #stall: NodeJS.Timeout;
  readonly #whole: NodeJS.Timeout;

  constructor(
    name: string,
    bytes: number,
    { stallMs = 20_000, attemptMs = 60_000 }: TimeLimits,
    outer: AbortSignal | undefined,
  ) {
    this.#name = name;
    this.#outer = outer;
    this.#stall = setTimeout(() => this.#expire('server sends nothing', stallMs), stallMs);
    const most = Math.ceil(attemptMs + bytes / SLOWEST_BYTES_PER_MS);
    this.#whole = setTimeout(() => this.#expire('server sends too slowly', most), most);
    if (outer?.aborted) this.#abort();
    else outer?.addEventListener('abort', this.#abort);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something came: the time without a byte starts again. */
  touch(): void {
    this.#stall.refresh();
  }

  /** The error that ended the attempt, or else the given one. */
  reasonOr(error: unknown): unknown {
    return this.signal.aborted ? this.signal.reason : error;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#stall);
    clearTimeout(this.#whole);
    this.#outer?.removeEventListener('abort', this.#abort);
  }

  readonly #abort = () => {
    const cause = this.#outer?.reason;
    this.#controller.abort(new SoftpackError('ABORTED', 'aborted', { cause }));
  };

  #expire(message: string, ms: number): void {
    const failure = networkFailed(this.#name, message, { expected: `less than ${ms} ms` });
    this.#controller.abort(new TransientFailure(failure));
  }
}
