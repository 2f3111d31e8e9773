import { labelCount, rectangleAt } from '../../archive/grid.js';
import { MANIFEST_FILE } from '../../container/shard-file.js';
import { errorCode } from '../../errors.js';
import type { ByteStore } from '../../store/byte-store.js';
import type { WriteOptions } from '../../store/writable-store.js';
import { findJobArchive } from './codec.js';
import { listReceipts } from './receipts.js';
import { readJob } from './record.js';
import type { JobStores } from './stores.js';

/** How far a job is, from its store alone. */
export interface JobStatus {
  /** Hash of all that decides the bytes, hex. */
  readonly id: string;
  readonly epochs: number;
  readonly samples: number;
  readonly classes: number;
  /** Whether the codec is trained; shards are known from then on. */
  readonly codec: boolean;
  readonly shards?: {
    readonly total: number;
    readonly done: number;
    /** Numbers of those without a receipt. */
    readonly missing: readonly number[];
  };
  readonly labels: { readonly total: number; readonly done: number };
  /** Bytes of the shards that are done. */
  readonly bytes: number;
  /** Whether the manifest is there. */
  readonly finished: boolean;
}

export async function jobStatus(stores: JobStores, options: WriteOptions = {}): Promise<JobStatus> {
  const job = await readJob(stores, options);
  const { id, content } = job;
  const { epochs, storedEpochs = epochs, samples, classes } = content.identity;
  const total = storedEpochs * samples;
  using archive = await findJobArchive(stores, job);
  const known = { id, epochs, samples, classes, codec: archive !== undefined };
  if (archive === undefined) {
    return { ...known, labels: { total, done: 0 }, bytes: 0, finished: false };
  }
  const { plan, shards } = archive;
  const receipts = await listReceipts(stores.receipts, shards);
  const missing: number[] = [];
  let [done, bytes] = [0, 0];
  for (let shard = 0; shard < shards; shard++) {
    const [receipt] = receipts.get(shard) ?? [];
    if (receipt === undefined) {
      missing.push(shard);
      continue;
    }
    done += labelCount(rectangleAt(plan.identity.grid, plan.identity, shard));
    bytes += receipt.bytes;
  }
  const finished = await isThere(stores.archive, MANIFEST_FILE);
  return {
    ...known,
    shards: { total: shards, done: shards - missing.length, missing },
    ...{ labels: { total, done }, bytes, finished },
  };
}

async function isThere(store: ByteStore, key: string): Promise<boolean> {
  try {
    await (await store.open(key)).close();
    return true;
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return false;
    throw error;
  }
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
