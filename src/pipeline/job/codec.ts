import { shardCount } from '../../archive/grid.js';
import { type ArchivePlan, planArchive } from '../../archive/spec.js';
import type { Codec } from '../../codecs/codec.js';
import { CODECS } from '../../codecs/registry.js';
import { loadXxh64 } from '../../container/checksum.js';
import { errorCode, SoftpackError } from '../../errors.js';
import { loadKernels } from '../../kernels/load.js';
import { nameIn } from '../../store/address.js';
import type { ByteFile } from '../../store/byte-store.js';
import { codecBytes, codecIn, type KeptCodec } from '../kept-codec.js';
import { trainPart } from '../pack.js';
import type { PackProgress } from '../pack-options.js';
import { archiveSpec } from '../pack-spec.js';
import { type JobWorkerOptions, openJobLabels, requireDrawn } from './labels.js';
import { type Job, readJob } from './record.js';
import { type JobStores, requireWritable } from './stores.js';

export const CODEC_FILE = 'codec.safetensors';

export interface TrainJobOptions extends JobWorkerOptions {
  readonly onProgress?: (progress: PackProgress) => void;
}

/**
 * Trains the codec of a job on a draw of its labels, which the teacher makes here and now. Does nothing if there is one.
 *
 * @returns Whether this call trained the codec that is there now.
 */
export async function trainJobCodec(
  stores: JobStores,
  { onProgress, ...worker }: TrainJobOptions = {},
): Promise<boolean> {
  const { signal } = worker;
  const job = await readJob(stores, { signal });
  if ((await findCodec(stores)) !== undefined) return false;
  await requireWritable(stores, { signal });
  await using labels = await openJobLabels(job, worker);
  const { source, part, asked } = labels;
  requireDrawn(part, job.content.identity);
  const checkpoints = { keep: async () => {} };
  const settings = { ...asked, checkpoints, onProgress };
  const kept = await trainPart(source, part, loadKernels(), settings);
  const bytes = codecBytes(CODEC_FILE, kept, job.content.request);
  return await stores.job.putIfAbsent(CODEC_FILE, bytes, { signal });
}

async function findCodec({ job: store }: JobStores): Promise<KeptCodec | undefined> {
  let file: ByteFile;
  try {
    file = await store.open(CODEC_FILE);
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
  try {
    const found = await codecIn(file);
    if (found !== undefined) return found;
  } finally {
    await file.close();
  }
  const message = 'codec of the job is damaged: remove it, and its shards if there are any';
  throw new SoftpackError('CORRUPT_DATA', message, { field: nameIn(store.name, CODEC_FILE) });
}

/** The archive that a job makes, once its codec is there. */
export interface JobArchive extends Disposable {
  readonly codec: Codec;
  readonly plan: ArchivePlan;
  readonly shards: number;
}

/** Undefined as long as there is no codec. */
export async function findJobArchive(
  stores: JobStores,
  { content, provenance }: Job,
): Promise<JobArchive | undefined> {
  const kept = await findCodec(stores);
  if (kept === undefined) return undefined;
  const { identity, request, grid } = content;
  const codec = CODECS.load(kept.parts, loadKernels());
  const spec = { ...archiveSpec(identity, codec, { ...identity, provenance, grid }), request };
  const plan = planArchive(spec, await loadXxh64());
  const shards = shardCount(plan.identity.grid, plan.identity);
  return { codec, plan, shards, [Symbol.dispose]: () => codec.dispose() };
}

/** `INCOMPLETE` if there is no codec yet. */
export async function openJobArchive(stores: JobStores, job: Job): Promise<JobArchive> {
  const found = await findJobArchive(stores, job);
  if (found !== undefined) return found;
  throw noCodec(stores);
}

export function noCodec({ address }: JobStores): SoftpackError {
  const message = `no codec yet: softpack cache codec ${address}`;
  return new SoftpackError('INCOMPLETE', message, { field: address });
}
