import { argument } from '../../core/check.js';
import {
  type JobKind,
  type JobProduct,
  type JobWorkerOptions,
  openProduct,
  type ShardMaker,
} from './kind.js';
import { LABEL_JOBS } from './label-jobs.js';
import { listReceipts } from './receipts.js';
import { readJob } from './record.js';
import { localRunner, type SetAside, type ShardRunner, type ShardWork } from './runner.js';
import { ShardSteps } from './shard-steps.js';
import { type JobStores, requireWritable } from './stores.js';

/** Shards i, i + of, i + 2 of, ... */
export interface JobShare {
  readonly i: number;
  readonly of: number;
}

export interface RunJobOptions extends JobWorkerOptions {
  /** Kinds of jobs that it may be; default: labels of images. */
  readonly kinds?: readonly JobKind[];
  /** Default: all shards. */
  readonly share?: JobShare;
  /** Hands out the shards; default: one after the other, in this process. */
  readonly runner?: ShardRunner;
  /** A shard that fails so often is set aside. Default 3. */
  readonly tries?: number;
  /** Labels, texts or images done, of all of the share. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface RunJobResult {
  /** Shards of the share that were there with their receipt. */
  readonly skipped: number;
  /** Shards that a killed run had put there without its receipt. */
  readonly verified: number;
  /** Shards that were made here. */
  readonly made: number;
  /** Shards of the share that failed at every try. */
  readonly setAside: readonly SetAside[];
}

/**
 * Makes the shards of a share that are missing, each a file of what the job makes. Any number of processes may run at
 * the same time, and any of them may be killed: what is in the store is whole, and the next run makes the rest.
 *
 * @throws `INCOMPLETE` if the job has no codec yet; what writing to the store throws, before any label is made.
 */
export async function runJob(
  stores: JobStores,
  {
    kinds = LABEL_JOBS,
    share = { i: 0, of: 1 },
    runner = localRunner,
    tries = 3,
    onProgress,
    ...worker
  }: RunJobOptions = {},
): Promise<RunJobResult> {
  const { signal } = worker;
  argument.count(share.of, 'shard', 1);
  argument.count(share.i, 'shard', 0, share.of - 1);
  argument.count(tries, 'tries', 1, 1000);
  const job = await readJob(stores, { signal });
  using product = await openProduct(stores, job, kinds);
  const own = shardsOf(share, product.shards);
  const missing = await missingOf(stores, product, own);
  const skipped = own.length - missing.length;
  if (missing.length === 0) return { skipped, verified: 0, made: 0, setAside: [] };
  await requireWritable(stores, { signal });
  const steps = new ShardSteps(stores, product, signal);
  const found = { stores, job: job.id, product, own, missing };
  await using work = new JobWork(found, steps, worker, onProgress);
  const setAside = await runner.run(work, { tries, signal });
  const { verified, made } = work;
  return { skipped, verified, made, setAside };
}

function shardsOf({ i, of }: JobShare, shards: number): readonly number[] {
  return Array.from({ length: Math.max(0, Math.ceil((shards - i) / of)) }, (_, k) => i + k * of);
}

async function missingOf(
  { receipts }: JobStores,
  { shards }: JobProduct,
  own: readonly number[],
): Promise<readonly number[]> {
  const listed = await listReceipts(receipts, shards);
  return own.filter((shard) => !listed.has(shard));
}

/** A job, and what of it was missing when this process came. */
interface FoundJob {
  readonly stores: JobStores;
  readonly job: string;
  readonly product: JobProduct;
  readonly own: readonly number[];
  readonly missing: readonly number[];
}

class JobWork implements ShardWork, AsyncDisposable {
  readonly job: string;
  readonly #found: FoundJob;
  readonly #steps: ShardSteps;
  readonly #worker: JobWorkerOptions;
  readonly #onProgress: RunJobOptions['onProgress'];
  readonly #total: number;
  #done: number;
  #maker: ShardMaker | undefined;
  verified = 0;
  made = 0;

  constructor(
    found: FoundJob,
    steps: ShardSteps,
    worker: JobWorkerOptions,
    onProgress: RunJobOptions['onProgress'],
  ) {
    this.job = found.job;
    this.#found = found;
    this.#steps = steps;
    this.#worker = worker;
    this.#onProgress = onProgress;
    this.#total = this.#sizeOf(found.own);
    this.#done = this.#total - this.#sizeOf(found.missing);
  }

  #sizeOf(shards: readonly number[]): number {
    return shards.reduce((sum, shard) => sum + this.#found.product.sizeOf(shard), 0);
  }

  async missing(): Promise<readonly number[]> {
    const { stores, product, own } = this.#found;
    const missing = await missingOf(stores, product, own);
    this.#done = this.#total - this.#sizeOf(missing);
    return missing;
  }

  async make(shard: number, onLabels?: (done: number) => void): Promise<void> {
    if (await this.#steps.receive(shard)) {
      this.verified += 1;
    } else {
      this.#maker ??= await this.#found.product.openMaker(this.#worker);
      await this.#steps.make(shard, this.#maker, (some) => {
        onLabels?.(some);
        this.#onProgress?.(this.#done + some, this.#total);
      });
      this.made += 1;
    }
    this.#done += this.#sizeOf([shard]);
    this.#onProgress?.(this.#done, this.#total);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#maker?.[Symbol.asyncDispose]();
  }
}
