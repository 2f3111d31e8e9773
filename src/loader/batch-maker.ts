import { Augmenter } from '../augment/augmenter.js';
import { mixesOf } from '../augment/mixes.js';
import type { Augmentations } from '../augment/record.js';
import {
  RecordedAugmentations,
  type RecordedColumn,
  type RecordedRows,
} from '../augment/recorded.js';
import { type Normalisation, type PixelSource, renderViews } from '../augment/replay.js';
import { type AnyAugmentationSpec, renderingOf } from '../augment/spec.js';
import { varyViews } from '../augment/varied-views.js';
import type { Codec, DecodeOptions } from '../codecs/codec.js';
import { loadCodec } from '../codecs/registry.js';
import { blocksByNumber } from '../core/blocks.js';
import type { CodecParts } from '../core/codec-parts.js';
import { concatenateIds } from '../core/samples.js';
import type { ImageReader } from '../images/image-reader.js';
import { openImageReader } from '../images/reader.js';
import type { ImagesDescription } from '../images/source.js';
import type { Kernels } from '../kernels/types.js';

/** Facts that all batches of a loader share; sent to each worker once, large parts in shared memory. */
export interface BatchSetup {
  /** Tells loaders of one pool apart. */
  readonly id: string;
  readonly classes: number;
  /** One per part of the archive; absent if labels are delivered as codes. */
  readonly codecs?: readonly CodecParts[];
  /** Parts that hold labels of one epoch, at most. */
  readonly partsPerEpoch: number;
  readonly decoding: DecodeOptions;
  /** Absent if the loader delivers labels alone. */
  readonly images?: ImageSetup;
  /** By part, of codecs that predict labels from what is mixed into their views. */
  readonly views?: readonly (ViewSetup | undefined)[];
  /** [1], shared: tasks of earlier runs stop at the next image. */
  readonly firstRun: Int32Array;
}

/** How views are made. */
export interface ViewSetup {
  readonly augmentation: AnyAugmentationSpec;
  /** Columns of recorded views. */
  readonly columns: readonly RecordedColumn[];
  readonly samples: number;
}

export interface ImageSetup {
  readonly description: ImagesDescription;
  readonly normalisation: Normalisation;
  /** Height and width of all views. */
  readonly size: readonly [number, number];
  /** One per part of the archive. */
  readonly views: readonly ViewSetup[];
  /** Seed of {@link varyViews}, if reused views vary. */
  readonly reuseSeed?: number;
}

export interface BatchTask {
  /** Counts the iterations of a loader, see {@link BatchSetup.firstRun}. */
  readonly run: number;
  /** Part of the archive. */
  readonly part: number;
  /** Its first sample; all samples of the task are numbered from there. */
  readonly firstSample: number;
  /** By which views are drawn. */
  readonly epoch: number;
  /** The epoch to be delivered, if an earlier one had the same views. */
  readonly reusedIn?: number;
  /** Temperature of the labels. */
  readonly tau: number;
  readonly sampleIds: Uint32Array;
  /** The epoch's codes, shared. */
  readonly row: Uint8Array;
  /** The epoch's recorded views, shared. */
  readonly recorded: RecordedRows;
  /** Side data of all samples, shared, if the codec keeps them in blocks. */
  readonly sampleBlocks?: Uint8Array;
  /** [batch, classes], shared: labels that were decoded before. */
  readonly labels?: Float32Array;
  /** Decode labels alone, for several batches ahead. */
  readonly labelsOnly?: boolean;
  /** Arrays to fill; fresh ones if absent. */
  readonly into?: { readonly xs: Float32Array; readonly ys: Float32Array };
}

export interface BatchArrays {
  /** [batch, height, width, 3] normalised images; empty if the loader has none. */
  readonly xs: Float32Array;
  /** [batch, classes] probabilities; empty if labels are delivered as codes. */
  readonly ys: Float32Array;
  readonly timing: BatchTiming;
}

/** Milliseconds of one thread. */
export interface BatchTiming {
  /** Decoding labels. */
  readonly labelMs: number;
  /** Reading and decoding images. */
  readonly readMs: number;
  /** Rendering views of them. */
  readonly augmentMs: number;
}

/** Batches of an epoch and of the next one are made side by side. */
const EPOCHS_IN_USE = 2;

/** Makes batches, one at a time: decodes labels, reads images and renders the views that the labels belong to. */
export class BatchMaker implements Disposable {
  readonly #setup: BatchSetup;
  readonly #kernels: Kernels;
  /** Those in use, by part; the least recently used first. */
  readonly #codecs = new Map<number, Codec>();
  readonly #reader: ImageReader | undefined;
  /** The batch in progress: the reader's memory is reused for the next one. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(setup: BatchSetup, kernels: Kernels, reader: ImageReader | undefined) {
    this.#setup = setup;
    this.#kernels = kernels;
    this.#reader = reader;
  }

  /** @param options.concurrency images decoded at a time. */
  static async create(
    setup: BatchSetup,
    kernels: Kernels,
    options: { readonly concurrency?: number } = {},
  ): Promise<BatchMaker> {
    const reader = setup.images && (await openImageReader(setup.images.description, options));
    return new BatchMaker(setup, kernels, reader);
  }

  make(task: BatchTask): Promise<BatchArrays> {
    const batch = this.#last.then(() => this.#make(task));
    this.#last = batch.catch(() => undefined);
    return batch;
  }

  async #make(task: BatchTask): Promise<BatchArrays> {
    const start = performance.now();
    const ys = this.#decode(task);
    const decoded = performance.now();
    const pixels = await this.#read(task);
    const read = performance.now();
    const xs = this.#render(task, pixels);
    const timing = {
      labelMs: decoded - start,
      readMs: read - decoded,
      augmentMs: performance.now() - read,
    };
    return { xs, ys, timing };
  }

  [Symbol.dispose](): void {
    for (const codec of this.#codecs.values()) codec.dispose();
    this.#codecs.clear();
    this.#reader?.[Symbol.dispose]();
  }

  #decode(task: BatchTask): Float32Array {
    const { part, epoch, tau, sampleIds, row, labels, into, sampleBlocks: side } = task;
    const { classes, codecs, views } = this.#setup;
    if (codecs === undefined) return new Float32Array(0);
    const out = into?.ys ?? new Float32Array(sampleIds.length * classes);
    if (labels !== undefined) {
      out.set(labels);
      return out;
    }
    const mixed = views?.[part];
    const augmentation = mixed && mixesOf(augmentationsOf(mixed, task), epoch, sampleIds);
    const sampleBlocks = side && blocksByNumber(side);
    const context = { epoch, samples: sampleIds, augmentation, sampleBlocks };
    const codec = this.#codecOf(part, codecs[part]);
    codec.decode({ row, labels: sampleIds, context, tau, out, threads: 1 });
    return out;
  }

  /** Epochs follow each other: the codecs of all parts but those of two would hold their tables for nothing. */
  #codecOf(part: number, parts: CodecParts): Codec {
    const { decoding, partsPerEpoch } = this.#setup;
    const codec = this.#codecs.get(part) ?? loadCodec(parts, this.#kernels, decoding);
    this.#codecs.delete(part);
    this.#codecs.set(part, codec);
    const [oldest] = this.#codecs.keys();
    if (this.#codecs.size > EPOCHS_IN_USE * partsPerEpoch) {
      this.#codecs.get(oldest)?.dispose();
      this.#codecs.delete(oldest);
    }
    return codec;
  }

  /** The images of the samples and of whatever is mixed into their views. */
  async #read(task: BatchTask): Promise<PixelSource | undefined> {
    const { images } = this.#setup;
    if (images === undefined || this.#reader === undefined || task.labelsOnly) return undefined;
    const { run, epoch, sampleIds, firstSample: first } = task;
    const augmentations = augmentationsOf(images.views[task.part], task);
    const partners = sampleIds.map((sample) => augmentations.mix(epoch, sample).partner);
    const stopped = () => Atomics.load(this.#setup.firstRun, 0) > run;
    const ids = concatenateIds(sampleIds, partners);
    if (first === 0) return this.#reader.read(ids, stopped);
    const pixels = await this.#reader.read(
      ids.map((id) => first + id),
      stopped,
    );
    return {
      count: pixels.count - first,
      sizeOf: (sample) => pixels.sizeOf(first + sample),
      pixels: (sample) => pixels.pixels(first + sample),
    };
  }

  #render(task: BatchTask, pixels: PixelSource | undefined): Float32Array {
    const { images } = this.#setup;
    if (images === undefined || pixels === undefined) return new Float32Array(0);
    const { epoch, reusedIn, sampleIds, into } = task;
    const [height, width] = images.size;
    const xs = into?.xs ?? new Float32Array(sampleIds.length * height * width * 3);
    const augmentations = augmentationsOf(images.views[task.part], task);
    const kernels = this.#kernels;
    renderViews(augmentations, pixels, epoch, sampleIds, images.normalisation, xs, { kernels });
    const { reuseSeed: seed, size } = images;
    if (seed !== undefined && reusedIn !== undefined) {
      const numbers = sampleIds.map((sample) => task.firstSample + sample);
      varyViews(xs, { seed, epoch: reusedIn, sampleIds: numbers, size });
    }
    return xs;
  }
}

function augmentationsOf(views: ViewSetup, { recorded }: BatchTask): Augmentations {
  const { augmentation, columns, samples } = views;
  if (augmentation.generator === 'recorded') {
    return new RecordedAugmentations(
      augmentation.size,
      columns,
      recorded,
      renderingOf(augmentation),
    );
  }
  return Augmenter.unsized(augmentation, samples);
}
