import type { LabelArchive } from '../archive/archive.js';
import type { Normalisation } from '../augment/replay.js';
import type { PackedCodes } from '../codecs/codec.js';
import type { MemoryImages } from '../images/memory.js';
import type { ImageSource } from '../images/source.js';
import type { Precision } from '../kernels/types.js';
import type { ByteStore } from '../store/byte-store.js';
import type { LoaderMetrics } from './metrics.js';
import type { LoaderState } from './state.js';

export interface LoaderOptions {
  /** The labels; not closed by the loader. */
  readonly archive: LabelArchive;
  /** The archive's images, by sample id; without them batches hold labels alone (`xs` empty). */
  readonly images?: ImageSource | MemoryImages;
  /** Pixel normalisation that the student expects; required with `images`. */
  readonly normalisation?: Normalisation;
  /**
   * Views of an archive whose stored epochs serve several: `same` (default) shows each as it was labelled, every time; `varied`
   * mirrors half of them from the second time on and moves them by up to a 24th of their side, so that a student does not see
   * the same pixels again. Worth two points of students where two or three of 40 epochs are stored, nothing where five are
   * (docs/loader.md); not for images that mean something else mirrored, unless the teacher was trained with mirrored ones.
   */
  readonly reusedViews?: 'same' | 'varied';
  /** Samples in a batch of this rank. */
  readonly batchSize: number;
  /** Seed of the sample order; augmentations have their own in the archive. Default 0. */
  readonly seed?: number;
  /** Epochs [from, to) to deliver; default all of the archive's. */
  readonly epochs?: { readonly from: number; readonly to: number };
  /** Samples in archive order when false. Default true. */
  readonly shuffle?: boolean;
  /** Leave out a last batch that is not full. Default false. */
  readonly dropLast?: boolean;
  /** This process among `worldSize` that train together, each with a share of every batch. Default 0 of 1. */
  readonly rank?: number;
  readonly worldSize?: number;
  /**
   * `probabilities` (default): decoded labels in `ys`. `codes`: packed codes in `codes`, for a loss that decodes
   * them itself (see `PackedLoss` of softpack/nn); `ys` is empty.
   */
  readonly labels?: 'probabilities' | 'codes';
  /** Batches made at a time, each on a thread; 0 makes them on the calling thread. Default 1. */
  readonly workers?: number;
  /**
   * Precision that decoding may trade for speed; default `exact`. `fast` is at least twice as fast, within 2e-3 of each
   * label, and as deterministic; `fastest` gives different bytes on different processors.
   */
  readonly precision?: Precision;
  /** Bytes that a decoder's tables may take in each worker; default 128 MiB. */
  readonly memoryCap?: number;
  /** A pool of piscina to use, not closed by the loader; default: one pool that all loaders of the process share. */
  readonly pool?: ThreadPool;
  /** Most batches made ahead of the consumer; default 2 more than `workers`, 1 without workers. */
  readonly prefetch?: number;
  /**
   * Most bytes of batches made ahead of the consumer; one batch is made in any case. Includes the buffers in which labels
   * of several batches are decoded at once, a sixteenth of this and at most 8 MiB each. Default 1 GiB.
   */
  readonly maxBytes?: number;
  /**
   * `fresh` (default): every batch in its own arrays, safe under TensorFlow.js, which may use them for as long as
   * a tensor lives. `slots`: in shared memory that is used again after `batch.release()`, for consumers that copy, as
   * TensorFlow.js does on its wasm backend; several times faster if batches are large (the system clears fresh
   * memory page by page).
   */
  readonly buffers?: 'fresh' | 'slots';
  /** Position to resume from: the `state()` of an earlier loader. */
  readonly resume?: LoaderState;
  /** Ends every iteration with `ABORTED`, and the work behind it at the next image. */
  readonly signal?: AbortSignal;
  /** Called for every batch when it is delivered. */
  readonly onProgress?: (progress: LoaderProgress) => void;
}

/** {@link LoaderOptions} by path or address: what is opened for the loader is closed with it. */
export interface LoaderAddresses extends Omit<LoaderOptions, 'archive' | 'images'> {
  /** A folder, an address like `https://host/archive`, or a store. */
  readonly archive: string | ByteStore;
  /** Paths stand for the archive's images there, as `openImagesOf` opens them. */
  readonly images?: string | readonly string[] | ImageSource | MemoryImages;
}

export interface LoaderProgress {
  readonly epoch: number;
  /** Batches of the epoch delivered, this one included, of `batches`. */
  readonly done: number;
  readonly batches: number;
  /** Since the first batch was asked for. */
  readonly samplesPerSecond: number;
  readonly metrics: LoaderMetrics;
}

/** The part of a `Piscina` that tells it from other pools; its own types need `resolveJsonModule`. */
export interface ThreadPool {
  readonly threads: readonly unknown[];
  run(task: unknown): Promise<unknown>;
}

export interface Batch {
  readonly epoch: number;
  /** Number of the batch within its epoch. */
  readonly index: number;
  /** Temperature of the labels, and of the student's logits in the loss. */
  readonly tau: number;
  readonly sampleIds: Uint32Array;
  /** [batch, height, width, 3] float32; empty for a loader without images. */
  readonly xs: Float32Array;
  readonly xsShape: [number, number, number, number];
  /** [batch, classes] float32 probabilities; empty if labels are delivered as codes. */
  readonly ys: Float32Array;
  readonly ysShape: [number, number];
  /** Only if labels are delivered as codes. */
  readonly codes?: PackedCodes;
  /** Gives the batch's slot back; nothing to do for fresh arrays. */
  release(): void;
}
