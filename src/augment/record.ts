import type { Rendering } from '../kernels/augment-args.js';

/**
 * Transformations of the images of some labels, one entry per label.
 *
 * view(epoch, i) = resize(crop(image i)), mirrored when flip is 1; the labelled image is that view with the
 * rectangle `box` replaced by the same rectangle of view(epoch, partner) (CutMix), or, where the box is empty,
 * lambda view(epoch, i) + (1 - lambda) view(epoch, partner) (mixup). Boxes are (top, left, height, width): crops in
 * pixels of the source image, mix boxes in pixels of the output.
 */
export interface AugmentationBatch {
  readonly count: number;
  /** [count, 4], source pixels. */
  readonly crop: Int32Array;
  /** [count], 0 or 1. */
  readonly flip: Uint8Array;
  /** [count], global sample ids; the sample's own id where nothing is mixed in. */
  readonly partner: Uint32Array;
  /** [count], the share of the sample's own pixels in the mixed image, 0 to 1; for CutMix after rounding to pixels. */
  readonly lambda: Float32Array;
  /** [count, 4], output pixels; all zero where nothing is pasted in. */
  readonly box: Int32Array;
}

/** (top, left, height, width). */
export type Box = readonly [number, number, number, number];

/** The part that is mixed into a view. */
export interface Mix {
  /** Global sample id; the sample's own where nothing is mixed in. */
  readonly partner: number;
  /** The rectangle that CutMix replaces, output pixels; height 0 where it replaces none. */
  readonly box: Box;
  /** Share of the own view in a mixup, float32, 0 to 1; 1 where nothing is blended. */
  readonly weight: number;
}

/** Says of any view of the epochs it knows how it is made. */
export interface Augmentations {
  /** Height and width of every view. */
  readonly size: readonly [number, number];
  readonly rendering: Rendering;
  /** Part of the sample's image, which has the given height and width. */
  cropOf(epoch: number, sample: number, size: readonly [number, number]): Box;
  /** 1 where the sample's view is mirrored. */
  flip(epoch: number, sample: number): 0 | 1;
  mix(epoch: number, sample: number): Mix;
}
