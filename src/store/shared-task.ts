import { SoftpackError, throwIfAborted } from '../errors.js';

/** One piece of work that several callers wait for. It is aborted once all of them have aborted. */
export class SharedTask<T> {
  readonly result: Promise<T>;
  readonly #controller = new AbortController();
  #waiting = 0;

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.result = work(this.#controller.signal);
    // Reported to those who wait; they may all have gone.
    this.result.catch(() => undefined);
  }

  /** Nobody waits any more, and the work was told to end. */
  get abandoned(): boolean {
    return this.#controller.signal.aborted;
  }

  /** The result; `ABORTED` at once if the caller's signal is. */
  async join(signal: AbortSignal | undefined): Promise<T> {
    throwIfAborted(signal);
    this.#waiting++;
    let onAbort: (() => void) | undefined;
    try {
      if (signal === undefined) return await this.result;
      const aborted = new Promise<never>((_, reject) => {
        onAbort = () => reject(new SoftpackError('ABORTED', 'aborted', { cause: signal.reason }));
        signal.addEventListener('abort', onAbort);
      });
      return await Promise.race([this.result, aborted]);
    } finally {
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
      this.#waiting--;
      if (this.#waiting === 0 && signal?.aborted) this.#controller.abort(signal.reason);
    }
  }
}
