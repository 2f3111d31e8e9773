import { Augmenter } from '#src/augment/augmenter.js';
import { mixesOf } from '#src/augment/mixes.js';
import type { AugmentationSpec } from '#src/augment/spec.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import type { LabelViews, ViewPlaces } from '#src/labels/views.js';
import { referenceNumbers, type View } from './transform-reference.js';

export const CUT_VIEWS: AugmentationSpec = {
  generator: 'philox4x32-10',
  seed: 9,
  size: [32, 32],
  crop: { scale: [0.2, 1], ratio: [0.75, 1.333] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 1 },
};

export interface ViewedShape {
  readonly epochs: number;
  readonly samples: number;
  readonly classes: number;
}

/** Views of square images. */
export function viewsIn(spec: AugmentationSpec, epoch: number, samples: number): LabelViews {
  const ids = Uint32Array.from({ length: samples }, (_, i) => i);
  return mixesOf(Augmenter.unsized(spec, samples), epoch, ids);
}

/** What label i shows. */
export function viewAt(places: ViewPlaces, i: number): View {
  const four = (all: Float32Array) => Array.from(all.subarray(4 * i, 4 * i + 4));
  const flipOf = (all: Uint8Array) => all[i];
  return {
    crops: [four(places.crop), four(places.otherCrop)],
    flips: [flipOf(places.flip), flipOf(places.otherFlip)],
    box: four(places.box),
  };
}

/** Logits [epochs, samples, classes] that are, but for a little noise, what a view shows of the quarters of its images. */
export function viewedLogits(
  spec: AugmentationSpec,
  { epochs, samples, classes }: ViewedShape,
): Float32Array {
  const random = new RandomSequence(3, STREAM.codec, 5);
  const quarters = Float64Array.from({ length: samples * 4 * classes }, () => 6 * random.normal());
  const logits = new Float32Array(epochs * samples * classes);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const { partner, lambda, placesIn } = viewsIn(spec, epoch, samples);
    const places = placesIn?.(() => [1024, 1024]);
    if (places === undefined) throw new Error('views of a seed are known');
    for (let i = 0; i < samples; i++) {
      const numbers = referenceNumbers(viewAt(places, i), lambda[i]);
      const at = (epoch * samples + i) * classes;
      for (let j = 0; j < classes; j++) {
        let sum = 0.05 * random.normal();
        for (const [k, share] of numbers.slice(0, 8).entries()) {
          const id = k < 4 ? i : partner[i];
          sum += (share / 64) * quarters[(id * 4 + (k % 4)) * classes + j];
        }
        logits[at + j] = sum;
      }
    }
  }
  return logits;
}
