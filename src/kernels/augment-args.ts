import type { ThreadOptions } from './thread-options.js';

/** Per channel (x - mean) / std on x in [0, 1]; what the teacher and student expect. */
export interface Normalisation {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/**
 * Positions of the parts of a view among its {@link AugmentArgs.views} fields: an image (its index, a crop as (top,
 * left, height, width) in its pixels, 1 if mirrored), the same of the image that is mixed in (index -1 if
 * none is), and the box, in pixels of the output, that CutMix replaces (height 0 for mixup).
 */
export const VIEW = {
  image: 0,
  crop: 1,
  flip: 5,
  /** Start of the other image: its crop is at `partner + crop`, its flip at `partner + flip`. */
  partner: 6,
  box: 12,
  fields: 16,
} as const;

/**
 * Renders augmented views: crop, bilinear resize (pixel centres at half integers, no antialiasing, edge pixels of
 * the crop repeated), mirror, CutMix or mixup, normalise. Exact integers up to 8.16 fixed point, then float32
 * products and sums in one order: every backend, instruction set and number of threads gives the same bytes.
 */
export interface AugmentArgs extends ThreadOptions {
  /** uint8 [height, width, 3] each, red green blue; any memory. */
  readonly images: readonly Uint8Array[];
  /** [images, 2], height and width of each, at most 65,535. */
  readonly sizes: Uint32Array;
  /** [views, VIEW.fields]. */
  readonly views: Int32Array;
  /** [views], share of the own image in a mixup, 0 to 1; not read for other views. */
  readonly weights: Float32Array;
  /** Height and width of every view. */
  readonly size: readonly [number, number];
  readonly normalisation: Normalisation;
  /** [views, height, width, 3]. */
  readonly out: Float32Array;
}
