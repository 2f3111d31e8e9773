import { sampleIds } from '../../core/samples.js';
import type { LabelViews, ViewPlaces } from '../../labels/views.js';
import type { LabelContext } from '../codec.js';

/** What is mixed into the views of some labels, one entry per label, and what they show, where that is known. */
export interface Mixes {
  readonly sample: Uint32Array;
  readonly partner: Uint32Array;
  /** Share of `sample`. */
  readonly lambda: Float32Array;
  readonly places?: ViewPlaces;
}

/** Archives do not have the sizes of images, which count as squares: crops of others are told somewhat wrong. */
const NOMINAL = [1024, 1024] as const;

/** Numbers per label. */
const WIDTHS = { crop: 4, flip: 1, otherCrop: 4, otherFlip: 1, box: 4 } as const;

/**
 * The mixes of the labels of a context: each its own sample alone if there is no record of its view.
 *
 * @param shown tell what views show, too, which takes a few microseconds for each.
 */
export function mixesOf({ samples, augmentation }: LabelContext, shown = false): Mixes {
  const sample = sampleIds(samples);
  const partner = augmentation?.partner ?? sample;
  const lambda = augmentation?.lambda ?? new Float32Array(sample.length).fill(1);
  const places = shown ? augmentation?.placesIn?.(() => NOMINAL) : undefined;
  return { sample, partner, lambda, ...(places && { places }) };
}

/** The views of mixes, as the record of an archive would tell them. */
export function viewsOf({ partner, lambda, places }: Mixes): LabelViews {
  return { partner, lambda, ...(places && { placesIn: () => places }) };
}

/** The mixes of labels [from, to). */
export function cutMixes(
  { sample, partner, lambda, places }: Mixes,
  from: number,
  to: number,
): Mixes {
  const cut = <A extends Uint32Array | Float32Array | Uint8Array>(all: A, width = 1) =>
    all.subarray(width * from, width * to) as A;
  const own = places && {
    crop: cut(places.crop, WIDTHS.crop),
    flip: cut(places.flip),
    otherCrop: cut(places.otherCrop, WIDTHS.otherCrop),
    otherFlip: cut(places.otherFlip),
    box: cut(places.box, WIDTHS.box),
  };
  return {
    ...{ sample: cut(sample), partner: cut(partner), lambda: cut(lambda) },
    ...(own && { places: own }),
  };
}

/** One after the other; places only if all have them. */
export function joinMixes(all: readonly Mixes[]): Mixes {
  const count = all.reduce((sum, { sample }) => sum + sample.length, 0);
  const joined = emptyMixes(
    count,
    all.every(({ places }) => places !== undefined),
  );
  let at = 0;
  for (const own of all) {
    writeMixes(joined, at, own);
    at += own.sample.length;
  }
  return joined;
}

/** The mixes of labels at these positions. */
export function pickMixes(all: Mixes, positions: Uint32Array): Mixes {
  const picked = emptyMixes(positions.length, all.places !== undefined);
  for (const [i, at] of positions.entries()) writeMixes(picked, i, cutMixes(all, at, at + 1));
  return picked;
}

function emptyMixes(count: number, shown: boolean): Mixes {
  const places = {
    crop: new Float32Array(WIDTHS.crop * count),
    flip: new Uint8Array(count),
    otherCrop: new Float32Array(WIDTHS.otherCrop * count),
    otherFlip: new Uint8Array(count),
    box: new Float32Array(WIDTHS.box * count),
  };
  return {
    ...{ sample: new Uint32Array(count), partner: new Uint32Array(count) },
    lambda: new Float32Array(count),
    ...(shown && { places }),
  };
}

function writeMixes(out: Mixes, at: number, own: Mixes): void {
  out.sample.set(own.sample, at);
  out.partner.set(own.partner, at);
  out.lambda.set(own.lambda, at);
  if (out.places === undefined || own.places === undefined) return;
  for (const [name, width] of Object.entries(WIDTHS)) {
    const field = name as keyof ViewPlaces;
    out.places[field].set(own.places[field], width * at);
  }
}
