import { pathToFileURL } from 'node:url';
import type { Piscina } from 'piscina';
import { moduleFile } from '../core/package-files.js';
import { newPool, PoolTasks } from '../core/pool-tasks.js';
import { errorFromData, errorMessage, isSoftpackError, SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import { type BatchArrays, BatchMaker, type BatchSetup, type BatchTask } from './batch-maker.js';
import type { WorkerReply, WorkerRequest } from './worker.js';

/** Makes the batches of one loader, here or on threads. */
export interface BatchPool extends AsyncDisposable {
  /** @param where names the batch in the error if two threads died making it. */
  make(task: BatchTask, where: string): Promise<BatchArrays>;
}

/** Images decoded at a time if the loader has no threads: the size of libuv's pool. */
const CONCURRENCY = 4;

/** Makes batches on the calling thread, one after the other. */
export class LocalBatchPool implements BatchPool {
  readonly #setup: BatchSetup;
  #maker: Promise<BatchMaker> | undefined;
  readonly #working = new Set<Promise<BatchArrays>>();

  constructor(setup: BatchSetup) {
    this.#setup = setup;
  }

  async make(task: BatchTask): Promise<BatchArrays> {
    const options = { concurrency: CONCURRENCY };
    this.#maker ??= BatchMaker.create(this.#setup, loadKernels(), options);
    const batch = (await this.#maker).make(task);
    this.#working.add(batch);
    return batch.finally(() => this.#working.delete(batch));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#working);
    const maker = await this.#maker?.catch(() => undefined);
    maker?.[Symbol.dispose]();
  }
}

/** More than any machine has processors; a loader keeps at most its own `workers` busy. */
const MAX_THREADS = 256;

/** The pool that all loaders of the process share while one of them is open. */
let shared: { readonly pool: Piscina; users: number } | undefined;
/** Ids of the loaders that are open on any pool. */
const openLoaders = new Set<string>();

const WORKER = pathToFileURL(moduleFile('loader/worker.js')).href;

/** Makes batches on threads of the shared pool, or of the caller's own. */
export class ThreadBatchPool implements BatchPool {
  readonly #setup: BatchSetup;
  readonly #pool: Piscina;
  readonly #tasks: PoolTasks;
  readonly #own: boolean;
  readonly #turns: Turns;

  /** `workers`: batches made at a time. */
  constructor(setup: BatchSetup, workers: number, pool?: Piscina) {
    this.#setup = setup;
    this.#turns = new Turns(workers);
    this.#own = pool === undefined;
    this.#pool = pool ?? acquireShared();
    this.#tasks = new PoolTasks(this.#pool);
    openLoaders.add(setup.id);
  }

  async make(task: BatchTask, where: string): Promise<BatchArrays> {
    await this.#turns.take();
    try {
      return await this.#makeTwice(task, where);
    } finally {
      this.#turns.give();
    }
  }

  /** A thread may die for reasons other than the batch (killed, out of memory): another one tries once more. */
  async #makeTwice(task: BatchTask, where: string): Promise<BatchArrays> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#request(task);
      } catch (cause) {
        if (isSoftpackError(cause)) throw cause;
        if (attempt === 1) continue;
        const message = errorMessage(cause);
        throw new SoftpackError('WORKER_FAILED', `${where}: ${message}, twice`, { cause });
      }
    }
  }

  async #request(task: BatchTask): Promise<BatchArrays> {
    const { id } = this.#setup;
    let reply = await this.#send({ setupId: id, open: [...openLoaders], task });
    if (reply.kind === 'setup-missing') {
      const setup = this.#setup;
      reply = await this.#send({ setupId: id, setup, open: [...openLoaders], task });
    }
    if (reply.kind === 'batch') return reply.batch;
    if (reply.kind === 'failed') throw errorFromData(reply.error);
    throw new SoftpackError('WORKER_FAILED', 'unexpected reply', { found: reply.kind });
  }

  #send(request: WorkerRequest): Promise<WorkerReply> {
    return this.#tasks.run(request, { filename: WORKER, name: 'serve' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { id } = this.#setup;
    openLoaders.delete(id);
    if (this.#own) await releaseShared();
    else await this.#forget(id);
    this.#tasks[Symbol.dispose]();
  }

  /** The caller's threads live on: those that are idle forget this loader now, the rest at their next batch. */
  async #forget(id: string): Promise<void> {
    const idle = Math.min(this.#pool.threads.length, this.#pool.idleThreads);
    const request = { setupId: id, open: [...openLoaders] };
    await Promise.allSettled(Array.from({ length: idle }, () => this.#send(request)));
  }
}

function acquireShared(): Piscina {
  shared ??= {
    pool: newPool({
      minThreads: 0,
      maxThreads: MAX_THREADS,
      idleTimeout: Number.POSITIVE_INFINITY,
    }),
    users: 0,
  };
  shared.users++;
  return shared.pool;
}

async function releaseShared(): Promise<void> {
  if (shared === undefined || --shared.users > 0) return;
  const { pool } = shared;
  shared = undefined;
  await pool.close();
}

/** Lets a limited number through at a time, in order of asking. */
class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async take(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
