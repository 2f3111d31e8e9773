import { createRequire } from 'node:module';
import type { Piscina } from 'piscina';

const require = createRequire(import.meta.url);

/** A pool of threads. Loading piscina takes a tenth as long as all of softpack: only what starts threads does. */
export function newPool(options: ConstructorParameters<typeof Piscina>[0]): Piscina {
  const library: typeof import('piscina') = require('piscina');
  return new library.Piscina(options);
}

/**
 * Runs tasks on a piscina pool and handles two cases that piscina leaves to its user: an error of a thread without a
 * task would end the process, and a task would wait without end if no thread can start.
 */
export class PoolTasks implements Disposable {
  readonly #pool: Piscina;
  readonly #waiting = new Set<(error: unknown) => void>();
  #lastError: unknown;

  constructor(pool: Piscina) {
    this.#pool = pool;
    addListeners(pool, 1);
    pool.on('error', this.#onError);
    pool.on('workerDestroy', this.#onEnd);
  }

  /** Rejects as the task does, or with the error of its thread. */
  async run<Task, Result>(task: Task, options: Parameters<Piscina['run']>[1]): Promise<Result> {
    let fail: ((error: unknown) => void) | undefined;
    try {
      return await new Promise<Result>((resolve, reject) => {
        fail = reject;
        this.#waiting.add(reject);
        this.#pool.run(task, options).then(resolve, reject);
      });
    } finally {
      if (fail !== undefined) this.#waiting.delete(fail);
    }
  }

  /** After this, errors of idle threads are the concern of the pool's owner again. */
  [Symbol.dispose](): void {
    this.#pool.off('error', this.#onError);
    this.#pool.off('workerDestroy', this.#onEnd);
    addListeners(this.#pool, -1);
  }

  readonly #onError = (error: unknown): void => {
    this.#lastError = error;
    this.#onEnd();
  };

  /** Piscina starts another thread in place of one that ended, unless it failed to start. */
  readonly #onEnd = (): void => {
    setImmediate(() => {
      if (this.#pool.threads.length > 0 || this.#pool.queueSize === 0) return;
      const error = this.#lastError ?? new Error('no thread can start');
      for (const fail of this.#waiting) fail(error);
    });
  };
}

/** Node.js warns of emitters with more listeners than expected: one is expected per user of a pool. */
function addListeners(pool: Piscina, count: number): void {
  const most = pool.getMaxListeners();
  if (most !== 0) pool.setMaxListeners(Math.max(1, most + count));
}
