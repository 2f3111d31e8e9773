/**
 * What was done to the images of some labels, one entry a label.
 *
 * view(epoch, i) = resize(crop(image i)), mirrored when flip is 1; the labelled image is that view with the
 * rectangle `box` replaced by the same rectangle of view(epoch, partner) (CutMix). Boxes are (top, left,
 * height, width): crops in pixels of the source image, mix boxes in pixels of the output.
 */
export interface AugmentationBatch {
  readonly count: number;
  /** [count, 4], source pixels. */
  readonly crop: Int32Array;
  /** [count], 0 or 1. */
  readonly flip: Uint8Array;
  /** [count], global sample ids; the sample's own id where nothing is mixed in. */
  readonly partner: Uint32Array;
  /** [count], the share of the sample's own pixels in the mixed image, 0 to 1, after rounding to pixels. */
  readonly lambda: Float32Array;
  /** [count, 4], output pixels; all zero where nothing is mixed in. */
  readonly box: Int32Array;
}
