import { setTimeout } from 'node:timers/promises';
import { isSoftpackError, throwIfAborted } from '../../errors.js';
import {
  type BullJob,
  type BullQueue,
  closeWithin,
  noAnswer,
  openQueue,
  type QueueServer,
  queueName,
  type ShardProgress,
  setAsideIn,
} from './bull-queue.js';
import { Failures, type RunnerOptions, type ShardRunner, type ShardWork } from './runner.js';

/** Shards that wait in the queue at most; more come from the store once they are taken. 553 bytes of Redis each. */
const MOST_WAITING = 10_000;
/** The job that fills the queue; there is at most one. */
const FILL = 'fill';
const PENDING = ['wait', 'active', 'delayed', 'prioritized', 'paused'];
const FIRST_POLL_MS = 100;
const MOST_WAIT_MS = 30_000;
const PROGRESS_MS = 1_000;
/** Lock times without an answer of the server after which a worker gives up. */
const PATIENCE = 20;

/**
 * Workers of any number of machines share a queue: each takes a shard when it has time for one. What a dead worker was at
 * goes to another within two lock times. The queue knows nothing that the store does not: one that was emptied is filled
 * again from there.
 */
export function bullRunner(server: QueueServer, { retry = false } = {}): ShardRunner {
  return {
    async run(work, options) {
      const queue = await openQueue(server, work.job);
      try {
        if (retry) await askQueue(queue.clean(0, 0, 'failed'), server);
        const worker = new ShardWorker(server, queue, work, options);
        await worker.run();
        const missing = new Set(await work.missing());
        const setAside = await askQueue(setAsideIn(queue), server);
        return setAside.filter(({ shard }) => missing.has(shard));
      } finally {
        await closeWithin(queue, waitMs(server));
      }
    },
  };
}

async function askQueue<T>(asked: Promise<T>, server: QueueServer): Promise<T> {
  try {
    return await asked;
  } catch (cause) {
    throw noAnswer(server, cause);
  }
}

/** Time between two looks at a queue, and for its server to close a connection: a long lock must not make either long. */
function waitMs({ lockMs }: QueueServer): number {
  return Math.min(lockMs, MOST_WAIT_MS);
}

class ShardWorker {
  readonly #server: QueueServer;
  readonly #queue: BullQueue;
  readonly #work: ShardWork;
  readonly #options: RunnerOptions;
  readonly #failures = new Failures();
  readonly #stop = new AbortController();
  #busy = false;
  #labels = 0;
  #seconds = 0;
  #poll = FIRST_POLL_MS;

  constructor(server: QueueServer, queue: BullQueue, work: ShardWork, options: RunnerOptions) {
    this.#server = server;
    this.#queue = queue;
    this.#work = work;
    this.#options = options;
  }

  /** Works until nothing is missing, or this worker has to stop. */
  async run(): Promise<void> {
    const { sdk, connection, backend, lockMs } = this.#server;
    const { tries, signal } = this.#options;
    const settings = {
      ...{ connection, concurrency: 1, lockDuration: lockMs, stalledInterval: lockMs / 4 },
      ...{ maxStalledCount: tries - 1, removeOnComplete: { count: 0 }, drainDelay: 1 },
    };
    const name = queueName(this.#work.job);
    const take = (job: BullJob, token?: string) => this.#take(job, token);
    const worker = new sdk.Worker(name, take, settings, backend);
    // Of a connection that broke; it is opened again.
    worker.on('error', () => undefined);
    const onAbort = () => this.#stop.abort();
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted) onAbort();
    try {
      await this.#untilOver();
    } finally {
      signal?.removeEventListener('abort', onAbort);
      await closeWithin(worker, waitMs(this.#server));
    }
    throwIfAborted(signal);
  }

  async #untilOver(): Promise<void> {
    const { lockMs } = this.#server;
    const { signal } = this.#stop;
    let answered = performance.now();
    while (!signal.aborted) {
      if (this.#busy) {
        answered = performance.now();
      } else {
        try {
          if (await this.#isOver()) return;
          answered = performance.now();
        } catch (cause) {
          // Of the store; the queue's are its package's own.
          if (isSoftpackError(cause)) throw cause;
          if (performance.now() - answered > PATIENCE * lockMs) {
            throw noAnswer(this.#server, cause);
          }
        }
      }
      await setTimeout(this.#poll, undefined, { signal }).catch(() => undefined);
      this.#poll = Math.min(1.5 * this.#poll, waitMs(this.#server));
    }
    const { reason } = signal;
    if (this.#options.signal?.aborted !== true) throw reason;
  }

  /** Whether nothing is missing; an empty queue is filled if something is. */
  async #isOver(): Promise<boolean> {
    const counts = await this.#queue.getJobCounts(...PENDING);
    if (PENDING.some((state) => (counts[state] ?? 0) > 0)) return false;
    if ((await this.#toDo()).length === 0) return true;
    const options = { jobId: FILL, removeOnComplete: true, removeOnFail: true };
    await this.#queue.add(FILL, {}, options);
    return false;
  }

  /** Shards that are missing and were not set aside. */
  async #toDo(): Promise<readonly number[]> {
    const setAside = new Set((await setAsideIn(this.#queue)).map(({ shard }) => shard));
    return (await this.#work.missing()).filter((shard) => !setAside.has(shard));
  }

  async #take(job: BullJob, token: string | undefined): Promise<void> {
    this.#busy = true;
    this.#poll = FIRST_POLL_MS;
    const { shard } = job.data;
    try {
      if (shard === undefined) await this.#fill();
      else await this.#make(shard, job);
    } catch (error) {
      // A fill that the queue did not take is asked for again.
      const again =
        shard === undefined ? !isSoftpackError(error) : this.#failures.isOf(shard, error);
      if (again) throw error;
      this.#stop.abort(error);
      await job.moveToWait(token);
      throw new this.#server.sdk.WaitingError();
    } finally {
      this.#busy = false;
    }
  }

  async #fill(): Promise<void> {
    const options = {
      attempts: this.#options.tries,
      backoff: { type: 'fixed', delay: Math.min(1_000, this.#server.lockMs / 4) },
      removeOnComplete: true,
    };
    const shards = (await this.#toDo()).slice(0, MOST_WAITING);
    await this.#queue.addBulk(
      // Names that a queue still has are ignored: nothing is in it twice.
      shards.map((shard) => ({
        ...{ name: 'shard', data: { shard }, opts: { ...options, jobId: `s${shard}` } },
      })),
    );
  }

  async #make(shard: number, job: BullJob): Promise<void> {
    const start = performance.now();
    let told = Number.NEGATIVE_INFINITY;
    const seconds = () => this.#seconds + (performance.now() - start) / 1000;
    let done = 0;
    const tell = (labels: number) => {
      done = labels;
      const now = performance.now();
      if (now - told < PROGRESS_MS) return;
      told = now;
      const progress: ShardProgress = {
        labels,
        labelsPerSecond: (this.#labels + labels) / Math.max(seconds(), 1e-3),
      };
      job.updateProgress(progress).catch(() => undefined);
    };
    if (this.#labels > 0) tell(0);
    await this.#work.make(shard, tell);
    this.#failures.succeeded();
    this.#seconds = seconds();
    this.#labels += done;
  }
}
