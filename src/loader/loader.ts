import { Piscina } from 'piscina';
import type { LabelArchive } from '../archive/archive.js';
import type { PackedImages } from '../augment/packed-images.js';
import type { Normalisation } from '../augment/replay.js';
import { type AugmentationSpec, parseAugmentationSpec } from '../augment/spec.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { loadKernels } from '../native/index.js';
import { type BatchArrays, BatchMaker, type BatchSetup, type BatchTask } from './batch-task.js';
import { EpochOrder } from './order.js';
import { type TfDataset, type TfLike, tfDatasetOf } from './tf-dataset.js';

export interface LoaderOptions {
  /** Where the labels are; stays open, and is not closed by the loader. */
  readonly archive: LabelArchive;
  /** The archive's images, by sample id; without them batches hold labels alone (`xs` empty). */
  readonly images?: PackedImages;
  /** What the student expects of its pixels; required with `images`. */
  readonly normalisation?: Normalisation;
  readonly batchSize: number;
  /** Of the order of samples; the augmentations have their own in the archive. Default 0. */
  readonly seed?: number;
  /** Epochs [from, to) to deliver; default all of the archive's. */
  readonly epochs?: { readonly from: number; readonly to: number };
  /** Samples in archive order when false. Default true. */
  readonly shuffle?: boolean;
  /** Leave out a last batch that is not full. Default false. */
  readonly dropLast?: boolean;
  /** Threads that decode and render; 0 does both on the calling thread. Default 1. */
  readonly workers?: number;
  /** Batches made ahead of the consumer, at most. Default 4. */
  readonly prefetch?: number;
  /** Where to go on: what `state()` of an earlier loader said. */
  readonly resume?: LoaderState;
  readonly signal?: AbortSignal;
}

export interface Batch {
  readonly epoch: number;
  /** Number of the batch within its epoch. */
  readonly index: number;
  readonly sampleIds: Uint32Array;
  /** [batch, height, width, 3] float32; empty for a loader without images. */
  readonly xs: Float32Array<ArrayBuffer>;
  readonly xsShape: readonly [number, number, number, number];
  /** [batch, classes] float32 probabilities. */
  readonly ys: Float32Array<ArrayBuffer>;
  readonly ysShape: readonly [number, number];
}

/** The next batch to deliver; whatever is made ahead does not count. */
export interface LoaderState {
  readonly version: 1;
  readonly archiveId: string;
  readonly seed: number;
  readonly epoch: number;
  /** Samples of that epoch already delivered. */
  readonly delivered: number;
}

/** Milliseconds spent so far: making images and labels (all workers), and the consumer's waiting. */
export interface LoaderMetrics {
  readonly batches: number;
  readonly imageMs: number;
  readonly labelMs: number;
  readonly waitMs: number;
}

interface Position {
  readonly epoch: number;
  readonly start: number;
}

/**
 * Batches of images and decoded soft labels in a deterministic order: a pure function of (archive, seed,
 * epoch), the same for any number of workers, any prefetch, and after a resume.
 */
export class LabelLoader implements AsyncIterable<Batch>, AsyncDisposable {
  readonly batchesPerEpoch: number;
  readonly #options: LoaderOptions;
  readonly #archive: LabelArchive;
  readonly #seed: number;
  readonly #last: number;
  readonly #setup: BatchSetup;
  readonly #imageShape: readonly [number, number, number];
  #next: Position;
  #pool: Piscina | undefined;
  #maker: BatchMaker | undefined;
  #row: { readonly epoch: number; readonly codes: Promise<Uint8Array> } | undefined;
  #order: { readonly epoch: number; readonly order: EpochOrder } | undefined;
  #metrics = { batches: 0, imageMs: 0, labelMs: 0, waitMs: 0 };

  constructor(options: LoaderOptions) {
    const { archive, batchSize, dropLast = false, epochs, images } = options;
    whole(batchSize, 'batchSize', 1);
    whole(options.workers ?? 1, 'workers', 0);
    whole(options.prefetch ?? 4, 'prefetch', 1);
    const { from, to } = epochs ?? { from: 0, to: archive.epochs };
    whole(from, 'epochs.from', 0, to);
    whole(to, 'epochs.to', from, archive.epochs);
    this.#options = options;
    this.#archive = archive;
    this.#seed = whole(options.seed ?? 0, 'seed', 0);
    this.#last = to;
    this.#next = { epoch: from, start: 0 };
    this.batchesPerEpoch = dropLast
      ? Math.floor(archive.samples / batchSize)
      : Math.ceil(archive.samples / batchSize);
    const augmentation = images === undefined ? undefined : this.#checkImages(images);
    this.#imageShape = augmentation === undefined ? [0, 0, 3] : [...augmentation.size, 3];
    this.#setup = {
      codec: archive.codecParts,
      images: augmentation &&
        images && {
          data: images.data,
          height: images.height,
          width: images.width,
          normalisation: required(options.normalisation, 'normalisation'),
          augmentation,
        },
    };
    if (options.resume !== undefined) this.#resume(options.resume);
  }

  state(): LoaderState {
    const { epoch, start } = this.#next;
    return {
      version: 1,
      archiveId: this.#archive.manifest.archiveId,
      seed: this.#seed,
      epoch,
      delivered: start,
    };
  }

  metrics(): LoaderMetrics {
    return { ...this.#metrics };
  }

  /** All batches from the present state to the last epoch. */
  [Symbol.asyncIterator](): AsyncGenerator<Batch, void, undefined> {
    return this.#batches(this.#last);
  }

  /** The batches left in the present epoch; empty once all epochs are delivered. */
  epoch(): AsyncGenerator<Batch, void, undefined> {
    return this.#batches(Math.min(this.#next.epoch + 1, this.#last));
  }

  /** A data set for `model.fitDataset`: each iterator delivers the next epoch as `{ xs, ys }` tensors. */
  asTfDataset<Images, Labels>(tf: TfLike<Images, Labels>): TfDataset<Images, Labels> {
    return tfDatasetOf(tf, this);
  }

  async close(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    this.#maker?.[Symbol.dispose]();
    this.#maker = undefined;
    await pool?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *#batches(lastEpoch: number): AsyncGenerator<Batch, void, undefined> {
    const { prefetch = 4, signal } = this.#options;
    const ahead: { position: Position; batch: Promise<Batch> }[] = [];
    let position: Position | undefined = this.#normalise(this.#next, lastEpoch);
    try {
      for (;;) {
        while (position !== undefined && ahead.length < prefetch) {
          const batch = this.#make(position);
          batch.catch(() => undefined); // Reported when its turn comes.
          ahead.push({ position, batch });
          position = this.#after(position, lastEpoch);
        }
        const first = ahead.shift();
        if (first === undefined) return;
        throwIfAborted(signal);
        const asked = performance.now();
        const batch = await first.batch;
        this.#metrics.waitMs += performance.now() - asked;
        throwIfAborted(signal);
        this.#metrics.batches++;
        this.#next = { epoch: batch.epoch, start: first.position.start + batch.sampleIds.length };
        this.#next = this.#normalise(this.#next, Number.POSITIVE_INFINITY) ?? this.#next;
        yield batch;
      }
    } finally {
      // Batches under way finish before the generator ends, so that closing leaves nothing behind.
      await Promise.allSettled(ahead.map(({ batch }) => batch));
    }
  }

  async #make({ epoch, start }: Position): Promise<Batch> {
    const { batchSize, shuffle = true } = this.#options;
    const count = Math.min(batchSize, this.#archive.samples - start);
    const order = this.#orderOf(epoch);
    const sampleIds = Uint32Array.from({ length: count }, (_, i) =>
      shuffle ? order.at(start + i) : start + i,
    );
    const index = Math.floor(start / batchSize);
    const arrays = await this.#run({ epoch, sampleIds, row: await this.#rowOf(epoch) }, index);
    this.#metrics.imageMs += arrays.imageMs;
    this.#metrics.labelMs += arrays.labelMs;
    return {
      epoch,
      index,
      sampleIds,
      xs: arrays.xs,
      xsShape: [count, ...this.#imageShape],
      ys: arrays.ys,
      ysShape: [count, this.#archive.classes],
    };
  }

  async #run(task: BatchTask, index: number): Promise<BatchArrays> {
    const { workers = 1 } = this.#options;
    if (workers === 0) {
      this.#maker ??= new BatchMaker(this.#setup, loadKernels());
      return this.#maker.make(task);
    }
    this.#pool ??= new Piscina({
      filename: new URL('./worker.js', import.meta.url).href,
      name: 'makeBatch',
      minThreads: workers,
      maxThreads: workers,
      workerData: this.#setup,
    });
    try {
      return (await this.#pool.run(task)) as BatchArrays;
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.name === 'SoftpackError') throw cause;
      const where = `batch ${index} of epoch ${task.epoch}`;
      throw new SoftpackError('WORKER_FAILED', `${where} failed: ${messageOf(cause)}`, { cause });
    }
  }

  #rowOf(epoch: number): Promise<Uint8Array> {
    if (this.#row?.epoch !== epoch) {
      this.#row = { epoch, codes: this.#archive.readRow(epoch) };
    }
    return this.#row.codes;
  }

  #orderOf(epoch: number): EpochOrder {
    if (this.#order?.epoch !== epoch) {
      this.#order = { epoch, order: new EpochOrder(this.#archive.samples, this.#seed, epoch) };
    }
    return this.#order.order;
  }

  #after({ epoch, start }: Position, lastEpoch: number): Position | undefined {
    return this.#normalise({ epoch, start: start + this.#options.batchSize }, lastEpoch);
  }

  /** The same position, or the start of the next epoch where this one has no batch left. */
  #normalise({ epoch, start }: Position, lastEpoch: number): Position | undefined {
    const { batchSize, dropLast = false } = this.#options;
    const left = this.#archive.samples - start;
    const over = left <= 0 || (dropLast && left < batchSize);
    const position = over ? { epoch: epoch + 1, start: 0 } : { epoch, start };
    const empty = this.batchesPerEpoch === 0;
    return position.epoch < lastEpoch && !empty ? position : undefined;
  }

  #resume(state: LoaderState): void {
    const here = this.state();
    for (const field of ['version', 'archiveId', 'seed'] as const) {
      if (state[field] === here[field]) continue;
      throw new SoftpackError('INVALID_ARGUMENT', 'the state belongs to another run', {
        field: `resume.${field}`,
        expected: here[field],
        found: state[field],
      });
    }
    this.#next = {
      epoch: whole(state.epoch, 'resume.epoch', 0, this.#archive.epochs),
      start: whole(state.delivered, 'resume.delivered', 0, this.#archive.samples),
    };
  }

  #checkImages(images: PackedImages): AugmentationSpec {
    if (images.count !== this.#archive.samples) {
      throw new SoftpackError('INVALID_ARGUMENT', 'not the images of this archive', {
        field: 'images',
        expected: `${this.#archive.samples} images`,
        found: images.count,
      });
    }
    const { augmentation } = this.#archive.manifest;
    if (augmentation === null) {
      throw new SoftpackError('UNSUPPORTED', 'this archive does not say how its images were made', {
        field: 'manifest.json: augmentation',
      });
    }
    return parseAugmentationSpec(augmentation, 'manifest.json: augmentation');
  }
}

/** Batches of images and soft labels from an archive. See {@link LabelLoader}. */
export function createLoader(options: LoaderOptions): LabelLoader {
  return new LabelLoader(options);
}

function whole(value: number, field: string, low: number, high = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && value >= low && value <= high) return value;
  throw new SoftpackError('INVALID_ARGUMENT', 'out of range', {
    field,
    expected:
      high === Number.MAX_SAFE_INTEGER ? `an integer >= ${low}` : `an integer in [${low}, ${high}]`,
    found: value,
  });
}

function required<T>(value: T | undefined, field: string): T {
  if (value !== undefined) return value;
  throw new SoftpackError('INVALID_ARGUMENT', 'required', { field });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
