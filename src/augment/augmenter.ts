import { below, CounterRng, STREAM, unit } from '../core/philox.js';
import { type SampleRange, sampleIds } from '../core/samples.js';
import { SoftpackError } from '../errors.js';
import type { Rendering } from '../kernels/augment-args.js';
import { ownShare } from './mixes.js';
import type { AugmentationBatch, Augmentations, Box, Mix } from './record.js';
import { type AugmentationSpec, renderingOf } from './spec.js';

/** The images that a spec is applied to: how many there are and how large each is, in pixels. */
export interface ImageSizes {
  readonly count: number;
  /** Height and width of the sample's stored image. */
  sizeOf(sample: number): readonly [number, number];
}

/** Nothing is replaced. */
const NO_BOX: Box = [0, 0, 0, 0];

/** Attempts at a crop of the drawn area and ratio before the fallback, as in torchvision. */
const CROP_ATTEMPTS = 10;
/** Below this Beta(alpha, alpha) is 0 or 1 but for one draw in ten thousand. */
const SMALLEST_ALPHA = 1e-5;
/** A draw is accepted with probability 0.014 at the smallest alpha, 0.14 at 1e-4. */
const BETA_ATTEMPTS = 1000;

/**
 * Derives the augmentation of any (epoch, sample) from the spec's seed, in O(1) and in any order.
 *
 * Crop and flip are those of the "random resized crop" recipe; CutMix follows Yun et al. 2019 with the partner
 * drawn from *all* samples and shown in its own view of the same epoch, so that a label depends on (seed, epoch,
 * sample) alone and never on how batches were put together.
 */
export class Augmenter implements Augmentations {
  readonly spec: AugmentationSpec;
  readonly images: ImageSizes;
  readonly #rng: CounterRng;

  constructor(spec: AugmentationSpec, images: ImageSizes) {
    this.spec = spec;
    this.images = images;
    this.#rng = new CounterRng(spec.seed);
  }

  /** For use before any image is read: {@link cropOf} is given the size of each. */
  static unsized(spec: AugmentationSpec, count: number): Augmenter {
    const sizeOf = () => {
      throw new SoftpackError('INVALID_ARGUMENT', 'sizes are known once images are read');
    };
    return new Augmenter(spec, { count, sizeOf });
  }

  /** Records of `samples` in `epoch`, in the order asked for. */
  batch(epoch: number, samples: SampleRange): AugmentationBatch {
    const ids = sampleIds(samples);
    const count = ids.length;
    const batch = {
      count,
      crop: new Int32Array(count * 4),
      flip: new Uint8Array(count),
      partner: new Uint32Array(count),
      lambda: new Float32Array(count),
      box: new Int32Array(count * 4),
    };
    for (let i = 0; i < count; i++) {
      const sample = ids[i];
      this.#checkSample(sample);
      batch.crop.set(this.crop(epoch, sample), i * 4);
      batch.flip[i] = this.flip(epoch, sample);
      const mix = this.mix(epoch, sample);
      batch.partner[i] = mix.partner;
      batch.box.set(mix.box, i * 4);
      batch.lambda[i] = ownShare(mix, this.spec.size);
    }
    return batch;
  }

  get size(): readonly [number, number] {
    return this.spec.size;
  }

  get rendering(): Rendering {
    return renderingOf(this.spec);
  }

  /** Source rectangle of the sample's view: (top, left, height, width). */
  crop(epoch: number, sample: number): Box {
    return this.cropOf(epoch, sample, this.images.sizeOf(sample));
  }

  cropOf(epoch: number, sample: number, [height, width]: readonly [number, number]): Box {
    const { scale, ratio } = this.spec.crop;
    const logRatio = [Math.log(ratio[0]), Math.log(ratio[1])];
    for (let attempt = 0; attempt < CROP_ATTEMPTS; attempt++) {
      const [a, b, c, d] = this.#rng.words(sample, epoch, STREAM.crop, attempt);
      const area = height * width * (scale[0] + unit(a) * (scale[1] - scale[0]));
      const aspect = Math.exp(logRatio[0] + unit(b) * (logRatio[1] - logRatio[0]));
      const w = Math.round(Math.sqrt(area * aspect));
      const h = Math.round(Math.sqrt(area / aspect));
      if (w > 0 && h > 0 && w <= width && h <= height) {
        return [below(c, height - h + 1), below(d, width - w + 1), h, w];
      }
    }
    return centreCrop(height, width, ratio);
  }

  /** 1 where the sample's view is mirrored. */
  flip(epoch: number, sample: number): 0 | 1 {
    const [word] = this.#rng.words(sample, epoch, STREAM.flip, 0);
    return unit(word) < this.spec.flip ? 1 : 0;
  }

  mix(epoch: number, sample: number): Mix {
    const { mix } = this.spec;
    const none = { partner: sample, box: NO_BOX, weight: 1 };
    if (mix.kind === 'none') return none;
    const [chosen, other, y, x] = this.#rng.words(sample, epoch, STREAM.mix, 0);
    if (unit(chosen) >= mix.probability) return none;
    const lambda = this.#beta(epoch, sample, mix.alpha);
    const partner = below(other, this.images.count);
    if (mix.kind === 'mixup') {
      const weight = Math.fround(lambda);
      return weight < 1 ? { partner, box: NO_BOX, weight } : none;
    }
    const box = this.#box(lambda, y, x);
    return box === undefined ? none : { partner, box, weight: 1 };
  }

  /** The part of a rectangle of 1 - lambda of the view that lies inside it, wherever its centre was drawn. */
  #box(lambda: number, y: number, x: number): Box | undefined {
    const [height, width] = this.spec.size;
    const side = Math.sqrt(1 - lambda);
    const halfHeight = Math.floor(Math.floor(height * side) / 2);
    const halfWidth = Math.floor(Math.floor(width * side) / 2);
    const [centreY, centreX] = [below(y, height), below(x, width)];
    const top = Math.max(centreY - halfHeight, 0);
    const left = Math.max(centreX - halfWidth, 0);
    const boxHeight = Math.min(centreY + halfHeight, height) - top;
    const boxWidth = Math.min(centreX + halfWidth, width) - left;
    return boxHeight > 0 && boxWidth > 0 ? [top, left, boxHeight, boxWidth] : undefined;
  }

  /** Beta(alpha, alpha) for 0 < alpha <= 1 by Johnk's rejection; uniform at alpha = 1. */
  #beta(epoch: number, sample: number, alpha: number): number {
    const attempts = alpha < SMALLEST_ALPHA ? 0 : BETA_ATTEMPTS;
    for (let draw = 1; draw <= attempts; draw++) {
      const [a, b] = this.#rng.words(sample, epoch, STREAM.mix, draw);
      if (alpha === 1) return unit(a);
      const x = unit(a) ** (1 / alpha);
      const y = unit(b) ** (1 / alpha);
      if (x + y > 0 && x + y <= 1) return x / (x + y);
    }
    // Near alpha = 0 both powers underflow almost always: the distribution is 0 or 1, each as probable as the other.
    const [a, b] = this.#rng.words(sample, epoch, STREAM.mix, BETA_ATTEMPTS);
    return a < b ? 0 : 1;
  }

  #checkSample(sample: number): void {
    if (sample < this.images.count) return;
    throw new SoftpackError('INVALID_ARGUMENT', 'no such sample', {
      field: 'samples',
      expected: `< ${this.images.count}`,
      found: sample,
    });
  }
}

/** The largest centred rectangle whose ratio lies within the range. */
function centreCrop(height: number, width: number, ratio: readonly [number, number]): Box {
  const own = width / height;
  let [h, w] = [height, width];
  if (own < ratio[0]) h = Math.min(height, Math.max(1, Math.round(width / ratio[0])));
  else if (own > ratio[1]) w = Math.min(width, Math.max(1, Math.round(height * ratio[1])));
  return [Math.floor((height - h) / 2), Math.floor((width - w) / 2), h, w];
}
