import { tmpdir } from 'node:os';
import { labelCount } from '../../archive/grid.js';
import { argument } from '../../core/check.js';
import { type JobArchive, openJobArchive } from './codec.js';
import { type JobLabels, type JobWorkerOptions, openJobLabels } from './labels.js';
import { listReceipts } from './receipts.js';
import { type Job, readJob } from './record.js';
import { localRunner, type SetAside, type ShardRunner, type ShardWork } from './runner.js';
import { ShardSteps } from './shard-steps.js';
import { type JobStores, requireWritable } from './stores.js';

/** Shards i, i + of, i + 2 of, ... */
export interface JobShare {
  readonly i: number;
  readonly of: number;
}

export interface RunJobOptions extends JobWorkerOptions {
  /** Default: all shards. */
  readonly share?: JobShare;
  /** Folder for shards until they are in the store; default: that of the system. */
  readonly scratch?: string;
  /** Hands out the shards; default: one after the other, in this process. */
  readonly runner?: ShardRunner;
  /** A shard that fails so often is set aside. Default 3. */
  readonly tries?: number;
  /** Labels done, of all of the share. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface RunJobResult {
  /** Shards of the share that were there with their receipt. */
  readonly skipped: number;
  /** Shards that a killed run had put there without its receipt. */
  readonly verified: number;
  /** Shards that were labelled and encoded here. */
  readonly made: number;
  /** Shards of the share that failed at every try. */
  readonly setAside: readonly SetAside[];
}

/**
 * Labels and encodes the shards of a share that are missing, each a file of the archive. Any number of processes may run at
 * the same time, and any of them may be killed: what is in the store is whole, and the next run makes the rest.
 *
 * @throws `INCOMPLETE` if the job has no codec yet; what writing to the store throws, before any label is made.
 */
export async function runJob(
  stores: JobStores,
  {
    share = { i: 0, of: 1 },
    scratch = tmpdir(),
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
  using archive = await openJobArchive(stores, job);
  const own = shardsOf(share, archive.shards);
  const missing = await missingOf(stores, archive, own);
  const skipped = own.length - missing.length;
  if (missing.length === 0) return { skipped, verified: 0, made: 0, setAside: [] };
  await requireWritable(stores, { signal });
  const steps = await ShardSteps.open(stores, archive, scratch, signal);
  const found = { stores, job, archive, own, missing };
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
  { shards }: JobArchive,
  own: readonly number[],
): Promise<readonly number[]> {
  const listed = await listReceipts(receipts, shards);
  return own.filter((shard) => !listed.has(shard));
}

/** A job, and what of it was missing when this process came. */
interface FoundJob {
  readonly stores: JobStores;
  readonly job: Job;
  readonly archive: JobArchive;
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
  #labels: JobLabels | undefined;
  verified = 0;
  made = 0;

  constructor(
    found: FoundJob,
    steps: ShardSteps,
    worker: JobWorkerOptions,
    onProgress: RunJobOptions['onProgress'],
  ) {
    this.job = found.job.id;
    this.#found = found;
    this.#steps = steps;
    this.#worker = worker;
    this.#onProgress = onProgress;
    this.#total = this.#labelsIn(found.own);
    this.#done = this.#total - this.#labelsIn(found.missing);
  }

  #labelsIn(shards: readonly number[]): number {
    return shards.reduce((sum, shard) => sum + labelCount(this.#steps.rectangle(shard)), 0);
  }

  async missing(): Promise<readonly number[]> {
    const { stores, archive, own } = this.#found;
    const missing = await missingOf(stores, archive, own);
    this.#done = this.#total - this.#labelsIn(missing);
    return missing;
  }

  async make(shard: number, onLabels?: (done: number) => void): Promise<void> {
    if (await this.#steps.receive(shard)) {
      this.verified += 1;
    } else {
      this.#labels ??= await openJobLabels(this.#found.job, this.#worker);
      await this.#steps.make(shard, this.#labels, (some) => {
        onLabels?.(some);
        this.#onProgress?.(this.#done + some, this.#total);
      });
      this.made += 1;
    }
    this.#done += this.#labelsIn([shard]);
    this.#onProgress?.(this.#done, this.#total);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#labels?.[Symbol.asyncDispose]();
    await this.#steps[Symbol.asyncDispose]();
  }
}
