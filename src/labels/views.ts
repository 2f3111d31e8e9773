/** Height and width of a sample's image. */
export type SizeOf = (sample: number) => readonly [number, number];

/** Whether what is mixed into views is looked at, and if `shown` also what they show. */
export type ViewUse = boolean | 'shown';

/** What views show, one entry per label. Rectangles are top, left, height and width, as shares of sides. */
export interface ViewPlaces {
  /** [labels, 4]: part of the sample's image. */
  readonly crop: Float32Array;
  /** [labels]: 1 where it is mirrored. */
  readonly flip: Uint8Array;
  /** The same of the view that is mixed in; the sample's own if none is. */
  readonly otherCrop: Float32Array;
  readonly otherFlip: Uint8Array;
  /** [labels, 4]: part of the view that shows the other one; empty if none does, or all of it in part. */
  readonly box: Float32Array;
}

/** What is mixed into the labelled views, one entry per label. */
export interface LabelViews {
  /** [labels]: global id of the sample that is mixed in; the label's own sample if none is. */
  readonly partner: Uint32Array;
  /** [labels]: share of the sample's own pixels, 0 to 1; for CutMix after rounding to pixels. */
  readonly lambda: Float32Array;
  /** What these views show of images of these sizes; absent if that is not known. */
  readonly placesIn?: (sizeOf: SizeOf) => ViewPlaces;
}
