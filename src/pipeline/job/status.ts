import type { WriteOptions } from '../../store/writable-store.js';
import { type JobKind, kindOf } from './kind.js';
import { LABEL_JOBS } from './label-jobs.js';
import { listReceipts } from './receipts.js';
import { readJob } from './record.js';
import type { JobStores } from './stores.js';

/** How far a job is, from its store alone. */
export interface JobStatus {
  /** Hash of all that decides the bytes, hex. */
  readonly id: string;
  readonly kind: string;
  /** What it makes: in words, and in numbers. */
  readonly words: string;
  readonly facts: Readonly<Record<string, number>>;
  /** Whether the codec is trained, or none is needed; shards are known from then on. */
  readonly codec: boolean;
  readonly shards?: {
    readonly total: number;
    readonly done: number;
    /** Numbers of those without a receipt. */
    readonly missing: readonly number[];
  };
  readonly unit: JobKind['unit'];
  /** Numbers of these. */
  readonly total: number;
  readonly done: number;
  /** Bytes of the shards that are done. */
  readonly bytes: number;
  /** Whether all is there, as a manifest tells of an archive. */
  readonly finished: boolean;
}

export interface JobStatusOptions extends WriteOptions {
  /** Kinds of jobs that it may be; default: labels of images. */
  readonly kinds?: readonly JobKind[];
}

export async function jobStatus(
  stores: JobStores,
  { kinds = LABEL_JOBS, ...options }: JobStatusOptions = {},
): Promise<JobStatus> {
  const job = await readJob(stores, options);
  const { name, unit, ...kind } = kindOf(job, kinds);
  const known = { id: job.id, kind: name, ...kind.describe(job), unit, total: kind.total(job) };
  using product = await kind.find(stores, job);
  if (product === undefined) {
    return { ...known, codec: false, done: 0, bytes: 0, finished: false };
  }
  const { shards } = product;
  const receipts = await listReceipts(stores.receipts, shards);
  const missing: number[] = [];
  let [done, bytes] = [0, 0];
  for (let shard = 0; shard < shards; shard++) {
    const [receipt] = receipts.get(shard) ?? [];
    if (receipt === undefined) {
      missing.push(shard);
      continue;
    }
    done += product.sizeOf(shard);
    bytes += receipt.bytes;
  }
  const finished = await product.isFinished();
  return {
    ...known,
    ...{ codec: true, done, bytes, finished },
    shards: { total: shards, done: shards - missing.length, missing },
  };
}

/** Ascending numbers as Slurm takes them: `3,17-20`. */
export function numberRanges(numbers: readonly number[]): string {
  const ranges: (readonly [number, number])[] = [];
  for (const number of numbers) {
    const [first, last] = ranges.at(-1) ?? [];
    if (first !== undefined && last === number - 1) ranges[ranges.length - 1] = [first, number];
    else ranges.push([number, number]);
  }
  return ranges
    .map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`))
    .join(',');
}
