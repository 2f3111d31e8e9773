import type { SealedShard } from '../archive/seal.js';
import { requireSame } from '../archive/spec.js';
import { hashFile, sha256 } from '../container/checksum.js';
import { tarMembers } from '../container/read-tar.js';
import { tarOf } from '../container/write-tar.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { VERSION } from '../core/version.js';
import { errorCode, invalidFile, SoftpackError, throwIfAborted } from '../errors.js';
import { requireOutside } from '../images/outside.js';
import { BACKENDS, type BackendName } from '../nn/backend/name.js';
import { pinnedBackend } from '../nn/backend/pinned.js';
import {
  type JobKind,
  type JobProduct,
  type JobWorkerOptions,
  type MadeShard,
  type Published,
  requireUnused,
  type ShardMaker,
} from '../pipeline/job/kind.js';
import type { Receipt } from '../pipeline/job/receipts.js';
import {
  findJob,
  type Job,
  type JobContent,
  jobOf,
  keepJob,
  requireSameJob,
} from '../pipeline/job/record.js';
import { isThere, type JobStores, requireFree } from '../pipeline/job/stores.js';
import { nameIn, schemeOf } from '../store/address.js';
import type { ByteFile } from '../store/byte-store.js';
import { readStored } from '../store/read-stored.js';
import {
  JOBS_FOLDER,
  MAX_RECORD_BYTES,
  parseRecord,
  recordBytes,
  recordName,
  SYNTHESIS_FILE,
} from './job-records.js';
import { type OpenedSynthesis, openSynthesis, requireRequest } from './open.js';
import { SYNTHESIS_METHODS, type SynthesisRequest, type SynthesisResult } from './options.js';
import { recordOf, summarise } from './summary.js';
import { ImageTree } from './tree.js';

/** What a job distils, and how. */
export type SynthesisJobOptions = Omit<SynthesisRequest, 'signal'>;

/** Everything that the bytes of distilled images depend on. */
interface SynthesisContent extends JobContent, FoundSynthesis {
  readonly kind: 'synthesis';
  /** Other runtimes round differently. */
  readonly backend: 'auto' | BackendName;
}

/** What a machine finds: others must find the same. */
interface FoundSynthesis {
  readonly request: JsonObject;
  /** Of the classes, in their order. */
  readonly folders: readonly string[];
  /** Images of each shard. */
  readonly images: readonly number[];
}

type SynthesisJob = Job<SynthesisContent, SynthesisJobOptions>;

/** Records read at a time. */
const READS = 8;

/**
 * Writes a job that distils images on many machines, a tar archive per shard. No image is made. Planning the same job again
 * changes nothing.
 *
 * @throws What `synthesise` throws for the same options; `ALREADY_EXISTS` naming the first difference if another job is
 *   there, or anything else.
 */
export async function planSynthesisJob(
  stores: JobStores,
  options: SynthesisJobOptions,
  signal?: AbortSignal,
): Promise<SynthesisJob> {
  requireRequest(options);
  if (options.images !== undefined && schemeOf(stores.address) === undefined) {
    await requireOutside(stores.address, options.images);
  }
  const there = await findJob(stores, { signal });
  if (there === undefined) await requireFree(stores);
  using opened = await openSynthesis({ ...options, signal });
  const content: SynthesisContent = {
    ...{ kind: 'synthesis', softpack: VERSION },
    backend: await pinnedBackend(opened.teacher.fingerprint, options.backend),
    ...foundIn(opened),
  };
  const job = jobOf(content, options, { softpack: VERSION });
  if (there !== undefined) requireSameJob(there, job);
  await keepJob(stores, job, { signal });
  return job;
}

function foundIn({ request, folders, synthesiser }: OpenedSynthesis): FoundSynthesis {
  return { request, folders: [...folders.values()], images: synthesiser.jobs };
}

/** Jobs of distilled images. */
export const SYNTHESIS_JOBS: JobKind = {
  name: 'synthesis',
  unit: 'images',
  requireFields({ request, folders, images, backend }, { teacher, method, ipc }, check) {
    check.object(request, 'content.request');
    check.texts(folders, 'content.folders');
    check.list(images, 'content.images').forEach((count, i) => {
      check.count(count, `content.images[${i}]`, 1);
    });
    check.oneOf(backend, 'content.backend', ['auto', ...BACKENDS]);
    check.text(teacher, 'options.teacher');
    check.oneOf(method, 'options.method', SYNTHESIS_METHODS);
    check.count(ipc, 'options.ipc', 1);
  },
  total: (job) => totalOf(contentOf(job)),
  describe(job) {
    const content = contentOf(job);
    const classes = content.folders.length;
    const words = `${totalOf(content)} images of ${classes} classes`;
    return { words, facts: { classes } };
  },
  find: async (stores, job) => new SynthesisProduct(stores, job as SynthesisJob),
};

function contentOf(job: Job): SynthesisContent {
  return (job as SynthesisJob).content;
}

function totalOf({ images }: SynthesisContent): number {
  return images.reduce((sum, count) => sum + count, 0);
}

/** Tar archives that together have the files of a run on one machine, and what all of them reached. */
class SynthesisProduct implements JobProduct {
  readonly shards: number;
  readonly #stores: JobStores;
  readonly #job: SynthesisJob;

  constructor(stores: JobStores, job: SynthesisJob) {
    this.shards = job.content.images.length;
    this.#stores = stores;
    this.#job = job;
  }

  sizeOf(shard: number): number {
    return this.#job.content.images[shard];
  }

  fileOf(shard: number): string {
    return `images-${String(shard).padStart(5, '0')}.tar`;
  }

  async stored(shard: number): Promise<SealedShard | undefined> {
    try {
      return await this.#withShard(shard, async (file) => ({
        bytes: file.size,
        sha256: await hashFile(file),
        indexSha256: sha256(await readRecord(file, shard)),
      }));
    } catch (error) {
      if (['NOT_FOUND', 'INVALID_FILE'].includes(errorCode(error) ?? '')) return undefined;
      throw error;
    }
  }

  async #withShard<T>(shard: number, use: (file: ByteFile) => Promise<T>): Promise<T> {
    const file = await this.#stores.archive.open(this.fileOf(shard));
    try {
      return await use(file);
    } finally {
      await file.close();
    }
  }

  async openMaker(worker: JobWorkerOptions): Promise<ShardMaker> {
    requireUnused(worker, ['workers'], 'distilled images');
    const { content, options: planned } = this.#job;
    const { teacher = planned.teacher, images = planned.images, signal } = worker;
    const { statistics = planned.statistics } = worker;
    const { backend } = content;
    const options = { ...planned, teacher, images, statistics, backend, signal };
    requireRequest(options);
    const opened = await openSynthesis(options);
    try {
      const found = { ...content, ...foundIn(opened) };
      const message = 'not the teacher, images and statistics of the job';
      requireSame(plain(content), plain(found), 'INVALID_ARGUMENT', message);
    } catch (error) {
      opened[Symbol.dispose]();
      throw error;
    }
    const { format = 'png' } = options;
    const tree = new ImageTree(opened.folders, opened.teacher.size, format);
    return {
      make: (shard, onProgress) => this.#make(opened, tree, shard, onProgress),
      [Symbol.asyncDispose]: async () => opened[Symbol.dispose](),
    };
  }

  async #make(
    { synthesiser }: OpenedSynthesis,
    tree: ImageTree,
    shard: number,
    onProgress: (images: number) => void,
  ): Promise<MadeShard> {
    const images = this.sizeOf(shard);
    const made = await synthesiser.make(shard, ({ iteration, iterations }) => {
      onProgress(Math.floor((images * iteration) / iterations));
    });
    const { classes, sizes } = await tree.encode(made.images);
    const record = recordBytes(recordOf(made, sizes));
    const files = classes.flatMap(({ folder: name, files }) =>
      files.map((file) => ({ name: `${name}/${file.name}`, bytes: file.bytes })),
    );
    // First, so that `finalize` need not look for it.
    const bytes = tarOf([{ name: `${JOBS_FOLDER}/${recordName(shard)}`, bytes: record }, ...files]);
    const hashes = { sha256: sha256(bytes), indexSha256: sha256(record) };
    const sums = [BigInt(images), 0n, 0n, 0n, 0n] as const;
    return {
      file: this.fileOf(shard),
      async *parts() {
        yield bytes;
        return { shard, bytes: bytes.length, ...hashes, sums };
      },
    };
  }

  async publish(receipts: readonly Receipt[], signal: AbortSignal | undefined): Promise<Published> {
    const { archive: store } = this.#stores;
    const records = await this.#recordsOf(receipts, signal);
    const { request } = this.#job.content;
    const { result, summary } = summarise(store.name, records, this.shards, request);
    const bytes = recordBytes(summary);
    if (!(await store.putIfAbsent(SYNTHESIS_FILE, bytes, { signal }))) {
      await requireSameSummary(this.#stores, bytes, signal);
    }
    await store.sweep?.([SYNTHESIS_FILE, ...receipts.map(({ shard }) => this.fileOf(shard))]);
    return { id: this.#job.id, words: wordsOf(result), facts: result };
  }

  async #recordsOf(
    receipts: readonly Receipt[],
    signal: AbortSignal | undefined,
  ): Promise<ReadonlyMap<number, JsonObject>> {
    const records: JsonObject[] = [];
    let next = 0;
    const read = async () => {
      while (next < receipts.length) {
        throwIfAborted(signal);
        const { shard, indexSha256 } = receipts[next++];
        records[shard] = await this.#recordOf(shard, indexSha256);
      }
    };
    await Promise.all(Array.from({ length: READS }, read));
    return new Map(records.entries());
  }

  #recordOf(shard: number, hash: string): Promise<JsonObject> {
    return this.#withShard(shard, async (file) => {
      const bytes = await readRecord(file, shard);
      const found = sha256(bytes);
      if (found === hash) return parseRecord(file.name, bytes);
      const message = 'shard was changed after it was made: softpack cache finalize --verify';
      const details = { field: file.name, expected: hash, found };
      throw new SoftpackError('CORRUPT_DATA', message, details);
    });
  }

  isFinished(): Promise<boolean> {
    return isThere(this.#stores.archive, SYNTHESIS_FILE);
  }

  [Symbol.dispose](): void {}
}

function plain(content: SynthesisContent): JsonObject {
  return canonicalJson(content, 'job') as JsonObject;
}

/** The record of a shard, which is its first file. */
async function readRecord(file: ByteFile, shard: number): Promise<Uint8Array> {
  const { value } = await tarMembers(file).next();
  const expected = `${JOBS_FOLDER}/${recordName(shard)}`;
  if (value?.name !== expected || value.size > MAX_RECORD_BYTES) {
    const details = { expected, found: value?.name ?? 'nothing' };
    throw invalidFile(file.name, 'content', 'not a shard of distilled images', details);
  }
  const bytes = new Uint8Array(value.size);
  await file.read(value.offset, bytes);
  return bytes;
}

/** `ALREADY_EXISTS` if another run was completed there. */
async function requireSameSummary(
  { archive }: JobStores,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const there = await readStored(archive, SYNTHESIS_FILE, MAX_RECORD_BYTES, { signal });
  if (there !== undefined && Buffer.from(bytes).equals(there)) return;
  throw new SoftpackError('ALREADY_EXISTS', 'a summary of other images is there', {
    field: nameIn(archive.name, SYNTHESIS_FILE),
    expected: sha256(bytes),
    found: there === undefined ? 'nothing' : sha256(there),
  });
}

function wordsOf({ images, classes, accuracy, confidence }: SynthesisResult): string {
  const right = `the teacher gives ${(100 * accuracy).toFixed(1)} % of them their class`;
  return `${images} images of ${classes} classes, ${right}, with a mean confidence of ${confidence.toFixed(2)}`;
}
