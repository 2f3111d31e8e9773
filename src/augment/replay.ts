import { type SampleRange, sampleIds } from '../core/samples.js';
import { type Normalisation, type Rendering, VIEW } from '../kernels/augment-args.js';
import { loadKernels } from '../kernels/load.js';
import type { Kernels } from '../kernels/types.js';
import type { ImageSizes } from './augmenter.js';
import type { Augmentations } from './record.js';

export type { Normalisation, Rendering };

/** No normalisation: pixels from 0 to 1. */
export const AS_PIXELS = { mean: [0, 0, 0], std: [1, 1, 1] } as const;

/** Images in memory: uint8 [height, width, 3], one function away. */
export interface PixelSource extends ImageSizes {
  /** The sample's pixels, row by row, red green blue. */
  pixels(sample: number): Uint8Array;
}

/** Float32 [samples, height, width, 3] of the augmentations' size: the images that the labels of `epoch` belong to. */
export function renderViews(
  augmentations: Augmentations,
  images: PixelSource,
  epoch: number,
  samples: SampleRange,
  normalisation: Normalisation,
  out: Float32Array,
  { kernels = loadKernels(), threads = 1 }: RenderOptions = {},
): void {
  const ids = sampleIds(samples);
  const parts = new ViewParts(images, ids.length);
  for (const [i, sample] of ids.entries()) {
    const { partner, box, weight } = augmentations.mix(epoch, sample);
    parts.place(i, 0, sample, augmentations, epoch);
    if (partner === sample && weight === 1 && box[2] === 0) continue;
    parts.place(i, VIEW.partner, partner, augmentations, epoch);
    parts.views.set(box, i * VIEW.fields + VIEW.box);
    parts.weights[i] = weight;
  }
  const { size, rendering } = augmentations;
  kernels.augment({ ...parts.arrays(), ...rendering, size, normalisation, out, threads });
}

/** Float32 [samples, height, width, 3] without augmentation: each image whole, resized. For evaluation. */
export function renderWhole(
  images: PixelSource,
  samples: SampleRange,
  size: readonly [number, number],
  normalisation: Normalisation,
  out: Float32Array,
  { kernels = loadKernels(), threads = 1, ...rendering }: RenderOptions & Rendering = {},
): void {
  const ids = sampleIds(samples);
  const parts = new ViewParts(images, ids.length);
  const whole = {
    cropOf: (_: number, __: number, [height, width]: readonly [number, number]) =>
      [0, 0, height, width] as const,
    flip: () => 0 as const,
  };
  for (const [i, sample] of ids.entries()) parts.place(i, 0, sample, whole, 0);
  kernels.augment({ ...parts.arrays(), ...rendering, size, normalisation, out, threads });
}

export interface RenderOptions {
  /** Default: those of `loadKernels()`. All give the same bytes. */
  readonly kernels?: Kernels;
  /** 0: all processors. Default 1, for threads that each render their own batches. */
  readonly threads?: number;
}

/** The kernel's arguments for some views, each image given once. */
class ViewParts {
  readonly views: Int32Array;
  readonly weights: Float32Array;
  readonly #source: PixelSource;
  readonly #images: Uint8Array[] = [];
  readonly #sizes: number[] = [];
  readonly #indices = new Map<number, number>();

  constructor(source: PixelSource, count: number) {
    this.#source = source;
    this.views = new Int32Array(count * VIEW.fields);
    this.weights = new Float32Array(count).fill(1);
    for (let i = 0; i < count; i++) this.views[i * VIEW.fields + VIEW.partner] = -1;
  }

  /** Image, crop and flip of the sample, from field `part` of view `i` on. */
  place(
    i: number,
    part: number,
    sample: number,
    augmentations: Pick<Augmentations, 'cropOf' | 'flip'>,
    epoch: number,
  ): void {
    const at = i * VIEW.fields + part;
    const size = this.#source.sizeOf(sample);
    this.views[at + VIEW.image] = this.#indexOf(sample, size);
    this.views.set(augmentations.cropOf(epoch, sample, size), at + VIEW.crop);
    this.views[at + VIEW.flip] = augmentations.flip(epoch, sample);
  }

  arrays() {
    const { views, weights } = this;
    return { images: this.#images, sizes: Uint32Array.from(this.#sizes), views, weights };
  }

  #indexOf(sample: number, size: readonly [number, number]): number {
    const known = this.#indices.get(sample);
    if (known !== undefined) return known;
    const index = this.#images.length;
    this.#indices.set(sample, index);
    this.#images.push(this.#source.pixels(sample));
    this.#sizes.push(...size);
    return index;
  }
}
