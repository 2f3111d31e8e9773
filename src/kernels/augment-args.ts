import type { ThreadOptions } from './thread-options.js';

/** What teacher and student expect: (x - mean) / std of every pixel x in [0, 1], 3 values each: red, green, blue. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
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

export const RESAMPLES = ['bilinear', 'antialias'] as const;
export const ROUNDS = ['none', 'u8'] as const;

/** Resampling of crops to views. PIL, and torchvision on PIL images, use `antialias` and `u8`. */
export interface Rendering {
  /**
   * The source pixels of one output pixel: the two that it lies between per axis, or all that it covers if the crop
   * shrinks (a triangle twice as wide as the output pixel). Default `bilinear`.
   */
  readonly resample?: 'bilinear' | 'antialias';
  /** `u8`: resized pixels are rounded to 8 bits after each axis, across first. Default `none`. */
  readonly round?: 'none' | 'u8';
}

/**
 * Renders augmented views: crop, resize (pixel centres at half integers, nothing beyond the crop is seen), mirror,
 * CutMix or mixup, normalise. Integers (with the default {@link Rendering} 8.16 fixed point), then float32 products
 * and sums in one order: every backend, instruction set and number of threads gives the same bytes.
 */
export interface AugmentArgs extends ThreadOptions, Rendering {
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
