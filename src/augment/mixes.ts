import type { Augmentations, Mix } from './record.js';

/** What is mixed into some views, one entry per view. */
export interface Mixes {
  /** Global sample ids; the view's own sample where nothing is mixed in. */
  readonly partner: Uint32Array;
  /** Share of the own pixels, 0 to 1. */
  readonly lambda: Float32Array;
}

export function mixesOf(views: Augmentations, epoch: number, samples: Uint32Array): Mixes {
  const partner = new Uint32Array(samples.length);
  const lambda = new Float32Array(samples.length);
  for (const [i, sample] of samples.entries()) {
    const mix = views.mix(epoch, sample);
    partner[i] = mix.partner;
    lambda[i] = ownShare(mix, views.size);
  }
  return { partner, lambda };
}

/** Share of the own pixels in a view of this size; for CutMix after rounding to pixels. */
export function ownShare({ box, weight }: Mix, [height, width]: readonly [number, number]): number {
  return weight < 1 ? weight : 1 - (box[2] * box[3]) / (height * width);
}
