import type { LabelViews, SizeOf, ViewPlaces } from '../labels/views.js';
import type { Augmentations, Mix } from './record.js';

/** What is mixed into some views. */
export function mixesOf(views: Augmentations, epoch: number, samples: Uint32Array): LabelViews {
  const partner = new Uint32Array(samples.length);
  const lambda = new Float32Array(samples.length);
  for (const [i, sample] of samples.entries()) {
    const mix = views.mix(epoch, sample);
    partner[i] = mix.partner;
    lambda[i] = ownShare(mix, views.size);
  }
  return { partner, lambda, placesIn: (sizeOf) => placesOf(views, epoch, samples, sizeOf) };
}

/** Share of the own pixels in a view of this size; for CutMix after rounding to pixels. */
export function ownShare({ box, weight }: Mix, [height, width]: readonly [number, number]): number {
  return weight < 1 ? weight : 1 - (box[2] * box[3]) / (height * width);
}

function placesOf(
  views: Augmentations,
  epoch: number,
  samples: Uint32Array,
  sizeOf: SizeOf,
): ViewPlaces {
  const count = samples.length;
  const four = () => new Float32Array(4 * count);
  const [crop, otherCrop, box] = [four(), four(), four()];
  const [flip, otherFlip] = [new Uint8Array(count), new Uint8Array(count)];
  for (const [i, sample] of samples.entries()) {
    const { partner, box: pasted } = views.mix(epoch, sample);
    writeCrop(views, epoch, sample, sizeOf, crop, i);
    writeCrop(views, epoch, partner, sizeOf, otherCrop, i);
    flip[i] = views.flip(epoch, sample);
    otherFlip[i] = views.flip(epoch, partner);
    writeShares(pasted, views.size, box, i);
  }
  return { crop, flip, otherCrop, otherFlip, box };
}

function writeCrop(
  views: Augmentations,
  epoch: number,
  sample: number,
  sizeOf: SizeOf,
  out: Float32Array,
  at: number,
): void {
  const size = sizeOf(sample);
  writeShares(views.cropOf(epoch, sample, size), size, out, at);
}

function writeShares(
  [top, left, height, width]: readonly [number, number, number, number],
  [rows, columns]: readonly [number, number],
  out: Float32Array,
  at: number,
): void {
  out.set([top / rows, left / columns, height / rows, width / columns], 4 * at);
}
