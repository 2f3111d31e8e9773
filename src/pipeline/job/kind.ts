import type { SealedShard } from '../../archive/seal.js';
import { FieldChecker } from '../../core/check.js';
import type { JsonObject } from '../../core/json.js';
import { SoftpackError } from '../../errors.js';
import type { PackProgress } from '../pack-options.js';
import type { Receipt } from './receipts.js';
import { JOB_FILE, type Job } from './record.js';
import type { JobStores } from './stores.js';

/** Where this machine has what the job works with, and how many threads work at it. */
export interface JobWorkerOptions {
  /** Path of the teacher; default: that of the plan. */
  readonly teacher?: string;
  /** Path of the images; default: that of the plan. */
  readonly images?: string;
  /** Path of the statistics that distilled images are held to; default: that of the plan. */
  readonly statistics?: string;
  readonly workers?: number;
  readonly signal?: AbortSignal;
}

export interface PrepareOptions extends JobWorkerOptions {
  readonly onProgress?: (progress: PackProgress) => void;
}

/**
 * What jobs of one kind make, in shards that any number of machines make. Higher layers have kinds of their own: the steps
 * are told those that they may meet.
 */
export interface JobKind {
  /** As jobs record it. */
  readonly name: string;
  /** What is counted of their progress. */
  readonly unit: 'labels' | 'texts' | 'images';
  /** Refuses a job that lacks what the steps rely on: anybody can write a file with the right hash. */
  requireFields(content: JsonObject, options: JsonObject, check: FieldChecker): void;
  /** Number of these in the whole job. */
  total(job: Job): number;
  /** What the job makes, in words and in numbers. */
  describe(job: Job): { readonly words: string; readonly facts: Readonly<Record<string, number>> };
  /** Trains the codec, if there is none; tells whether it did. Absent where none is needed. */
  readonly prepare?: (stores: JobStores, job: Job, options: PrepareOptions) => Promise<boolean>;
  /** Undefined as long as there is no codec. */
  find(stores: JobStores, job: Job): Promise<JobProduct | undefined>;
}

/** What a job makes. */
export interface JobProduct extends Disposable {
  readonly shards: number;
  /** Labels, texts or images of a shard. */
  sizeOf(shard: number): number;
  fileOf(shard: number): string;
  /** The shard in the store; undefined if there is none, or a damaged one. */
  stored(shard: number): Promise<SealedShard | undefined>;
  /**
   * Loads what shards are made of.
   *
   * @throws `INVALID_ARGUMENT` naming the first difference if that is not what the job was planned with.
   */
  openMaker(worker: JobWorkerOptions): Promise<ShardMaker>;
  /** Completes what the job makes from its shards. Changes nothing if it is complete. */
  publish(receipts: readonly Receipt[], signal: AbortSignal | undefined): Promise<Published>;
  isFinished(): Promise<boolean>;
}

export interface Published {
  readonly id: string;
  /** What was measured, in words and as JSON. */
  readonly words: string;
  readonly facts: object;
}

export interface ShardMaker extends AsyncDisposable {
  make(shard: number, onProgress: (done: number) => void): Promise<MadeShard>;
}

/** A shard in the memory of its maker. */
export interface MadeShard {
  readonly file: string;
  /** Its bytes, as often as they are asked for, in parts that belong to the reader; then what is known of it. */
  parts(): AsyncGenerator<Uint8Array, Receipt>;
}

/** `UNSUPPORTED` if it is none of those, `INVALID_FILE` if it lacks fields of its kind. */
export function kindOf({ content, options }: Job, kinds: readonly JobKind[]): JobKind {
  const found = kinds.find(({ name }) => name === content.kind);
  if (found !== undefined) {
    const plain = [content, options].map((one) => one as unknown as JsonObject);
    found.requireFields(plain[0], plain[1], new FieldChecker(JOB_FILE, 'INVALID_FILE'));
    return found;
  }
  throw new SoftpackError('UNSUPPORTED', 'a job of another kind', {
    field: 'content.kind',
    expected: kinds.map(({ name }) => name).join(', '),
    found: content.kind,
  });
}

/** `INCOMPLETE` if there is no codec yet. */
export async function openProduct(
  stores: JobStores,
  job: Job,
  kinds: readonly JobKind[],
): Promise<JobProduct> {
  const found = await kindOf(job, kinds).find(stores, job);
  if (found !== undefined) return found;
  throw noCodec(stores);
}

export function noCodec({ address }: JobStores): SoftpackError {
  const message = `no codec yet: softpack cache codec ${address}`;
  return new SoftpackError('INCOMPLETE', message, { field: address });
}

/** `INVALID_ARGUMENT` for an option that this kind of job has no use for: whoever gives it expects one. */
export function requireUnused(
  worker: JobWorkerOptions,
  names: readonly (keyof JobWorkerOptions)[],
  kind: string,
): void {
  const given = names.find((name) => worker[name] !== undefined);
  if (given === undefined) return;
  const details = { field: given, expected: `not for jobs of ${kind}`, found: worker[given] };
  throw new SoftpackError('INVALID_ARGUMENT', 'this job has no such option', details);
}
