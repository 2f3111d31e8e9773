import { Augmenter } from '../augment/augmenter.js';
import { packedImages } from '../augment/packed-images.js';
import { type Normalisation, renderViews } from '../augment/replay.js';
import type { AugmentationSpec } from '../augment/spec.js';
import type { Codec, CodecParts } from '../codec/codec.js';
import { loadCodec } from '../codec/load.js';
import type { Kernels } from '../native/kernels.js';

/** What every batch of a loader has in common; sent to each worker once. */
export interface BatchSetup {
  readonly codec: CodecParts;
  /** Absent where the loader delivers labels alone. */
  readonly images?: {
    readonly data: Uint8Array;
    readonly height: number;
    readonly width: number;
    readonly normalisation: Normalisation;
    readonly augmentation: AugmentationSpec;
  };
}

export interface BatchTask {
  readonly epoch: number;
  readonly sampleIds: Uint32Array;
  /** The epoch's codes, shared. */
  readonly row: Uint8Array;
}

export interface BatchArrays {
  /** [batch, height, width, 3] normalised images; empty where the loader has none. */
  readonly xs: Float32Array<ArrayBuffer>;
  /** [batch, classes] probabilities. */
  readonly ys: Float32Array<ArrayBuffer>;
  readonly imageMs: number;
  readonly labelMs: number;
}

/** Makes batches: decodes labels and renders the views they belong to. One a thread. */
export class BatchMaker implements Disposable {
  readonly #codec: Codec;
  readonly #setup: BatchSetup;

  constructor(setup: BatchSetup, kernels: Kernels) {
    this.#setup = setup;
    this.#codec = loadCodec(setup.codec, kernels);
  }

  make({ epoch, sampleIds, row }: BatchTask): BatchArrays {
    const start = performance.now();
    const ys = new Float32Array(sampleIds.length * this.#codec.classes);
    const context = { epoch, samples: sampleIds };
    this.#codec.decode({ row, labels: sampleIds, context, out: ys, threads: 1 });
    const decoded = performance.now();
    const xs = this.#render(epoch, sampleIds);
    return { xs, ys, labelMs: decoded - start, imageMs: performance.now() - decoded };
  }

  [Symbol.dispose](): void {
    this.#codec.dispose();
  }

  #render(epoch: number, sampleIds: Uint32Array): Float32Array<ArrayBuffer> {
    const { images } = this.#setup;
    if (images === undefined) return new Float32Array(0);
    const pixels = packedImages(images.data, images.height, images.width);
    const [height, width] = images.augmentation.size;
    const xs = new Float32Array(sampleIds.length * height * width * 3);
    const augmenter = new Augmenter(images.augmentation, pixels);
    renderViews(augmenter, pixels, epoch, sampleIds, images.normalisation, xs);
    return xs;
  }
}
