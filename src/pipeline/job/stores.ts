import { randomBytes } from 'node:crypto';
import { openWritableStore } from '../../container/writable-folder.js';
import { errorCode, excerpt, SoftpackError } from '../../errors.js';
import { nameIn } from '../../store/address.js';
import type { ByteStore } from '../../store/byte-store.js';
import type { S3Options } from '../../store/s3.js';
import type { WritableStore, WriteOptions } from '../../store/writable-store.js';

/**
 * Where a job lies: the archive's files at the address itself, and in folders below it the job, its codec and what was
 * measured, and a receipt per shard. All truth about the progress is here: engines only start steps.
 */
export interface JobStores {
  /** For messages and scripts: a path or an address. */
  readonly address: string;
  readonly archive: WritableStore;
  readonly job: WritableStore;
  readonly receipts: WritableStore;
}

export interface JobStoreOptions {
  /** For `s3://bucket/prefix`. */
  readonly s3?: S3Options;
}

const JOB_FOLDER = 'job';
const RECEIPTS_FOLDER = 'job/receipts';

/** @param open opens each of the stores, at an address. */
export async function openJobStores(
  address: string,
  { s3 }: JobStoreOptions = {},
  open: (address: string) => Promise<WritableStore> = (at) => openWritableStore(at, { s3 }),
): Promise<JobStores> {
  return {
    address,
    archive: await open(address),
    job: await open(nameIn(address, JOB_FOLDER)),
    receipts: await open(nameIn(address, RECEIPTS_FOLDER)),
  };
}

/** What a store that is full, or that refuses its writers, says at this. */
const PROBE_BYTES = 65_536;
const PROBE = 'probe-';

/** Throws what writing would throw later, after hours of labelling. */
export async function requireWritable({ job }: JobStores, options: WriteOptions): Promise<void> {
  const key = `${PROBE}${randomBytes(8).toString('hex')}`;
  try {
    await job.putIfAbsent(key, new Uint8Array(PROBE_BYTES), options);
  } finally {
    await job.delete(key).catch(() => undefined);
  }
}

/** `ALREADY_EXISTS` if files lie where a job is to be. */
export async function requireFree({ archive }: JobStores): Promise<void> {
  const names = await archive.list();
  if (names.length === 0) return;
  throw new SoftpackError('ALREADY_EXISTS', 'something else is there', {
    field: archive.name,
    expected: 'nothing, or the same job',
    found: excerpt(names.join(', ')),
  });
}

export async function isThere(store: ByteStore, key: string): Promise<boolean> {
  try {
    await (await store.open(key)).close();
    return true;
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return false;
    throw error;
  }
}

/** Removes what killed workers left of the job's files and of these receipts, and of their tries to write. */
export async function sweepJob(
  { job, receipts }: JobStores,
  receiptNames: readonly string[],
  options: WriteOptions,
): Promise<void> {
  for (const probe of await job.list(PROBE)) await job.delete(probe, options);
  // Listing a bucket costs requests, and nothing is left there.
  if (job.sweep !== undefined) await job.sweep([...(await job.list()), ...receiptNames]);
  await receipts.sweep?.(receiptNames);
}
