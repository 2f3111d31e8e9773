import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { trainJobCodec } from '#src/pipeline/job/codec.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import type { JobLabelsOptions } from '#src/pipeline/job/labels.js';
import { planJob } from '#src/pipeline/job/plan.js';
import { type RunJobOptions, runJob } from '#src/pipeline/job/run.js';
import { type JobStores, openJobStores } from '#src/pipeline/job/stores.js';
import { s3WritableStore } from '#src/store/s3-writer.js';
import type { WritableStore } from '#src/store/writable-store.js';
import { writeImage } from '../images/fixture.js';
import type { MemoryBucket } from '../store/memory-s3.js';
import type { TemporaryDirectory } from '../temporary.js';

/** A job of 9 shards: 3 rectangles of epochs by 3 of samples, those at the edges smaller. */

const teacher = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
export const [EPOCHS, IMAGES, SHARDS] = [5, 21, 9];
/** One thread of a teacher. */
export const WORKER = { workers: 1 } as const;

export async function jobOptions({ path }: TemporaryDirectory): Promise<JobLabelsOptions> {
  const images = path('images');
  const name = (i: number) => `${String(i).padStart(2, '0')}.png`;
  for (let i = 0; i < IMAGES; i++) await writeImage(images, name(i), i, [10, 12]);
  return {
    ...{ teacher, images, epochs: EPOCHS, tau: 4, batch: 8, grid: { epochs: 2, samples: 8 } },
    description: { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] },
    codec: { name: 'topk', k: 2 },
  };
}

/** Files of the archive at an address, by name. */
export type Files = ReadonlyMap<string, Buffer>;

export async function filesIn(folder: string): Promise<Files> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  const read = async (name: string) => [name, await readFile(`${folder}/${name}`)] as const;
  return new Map(await Promise.all(names.sort().map(read)));
}

export function inBucket(bucket: MemoryBucket, prefix = 'a'): Promise<JobStores> {
  const fast = { region: 'x', retries: 3, backoffMs: 1 };
  return openJobStores(`s3://bucket/${prefix}`, {}, (at) =>
    s3WritableStore(at, fast, async () => bucket.sdk),
  );
}

export function filesOfBucket({ objects }: MemoryBucket): Files {
  const names = [...objects.keys()].filter((key) => /^a\/[^/]+$/.test(key)).sort();
  return new Map(names.map((key) => [key.slice(2), objects.get(key)?.bytes ?? Buffer.of()]));
}

export async function planned(stores: JobStores, options: JobLabelsOptions): Promise<JobStores> {
  await planJob(stores, options);
  await trainJobCodec(stores, WORKER);
  return stores;
}

/** Runs a job as so many processes do, one after the other, the last share first. */
export async function runAll(stores: JobStores, of: number): Promise<void> {
  for (let i = of - 1; i >= 0; i--) await runJob(stores, { ...WORKER, share: { i, of } });
  await finalizeJob(stores);
}

class Killed extends Error {}

/** Stores that die at one of their changes: before it, or when it is done. */
export function dying(stores: JobStores, at: number, when: 'before' | 'after'): JobStores {
  let changes = 0;
  let dead = false;
  // A change may have another one within: what was measured of a shard is kept while the shard is put.
  const change = async <T>(work: () => Promise<T>): Promise<T> => {
    const dies = changes++ === at;
    dead ||= dies && when === 'before';
    if (dead) throw new Killed();
    const result = await work();
    dead ||= dies;
    if (dead) throw new Killed();
    return result;
  };
  const wrap = (store: WritableStore): WritableStore => ({
    name: store.name,
    open: (...args) => store.open(...args),
    list: (prefix) => store.list(prefix),
    sha256Of: (...args) => store.sha256Of(...args),
    put: (...args) => change(() => store.put(...args)),
    putIfAbsent: (...args) => change(() => store.putIfAbsent(...args)),
    putParts: (...args) => change(() => store.putParts(...args)),
    delete: (...args) => change(() => store.delete(...args)),
  });
  const { address, archive, job, receipts } = stores;
  return { address, archive: wrap(archive), job: wrap(job), receipts: wrap(receipts) };
}

/** Whether a run with these stores, to the end of the job, dies as {@link dying} says. */
export async function dies(stores: JobStores, options: RunJobOptions = WORKER): Promise<boolean> {
  const { kinds } = options;
  try {
    await runJob(stores, options);
    await finalizeJob(stores, { kinds });
    return false;
  } catch (error) {
    if (error instanceof Killed) return true;
    throw error;
  }
}
