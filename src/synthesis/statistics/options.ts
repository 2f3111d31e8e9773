import type { ImageFit } from '../../images/decode.js';
import type { BackendName } from '../../nn/backend/name.js';
import type { TeacherDescription } from '../../nn/teachers/description.js';

/** Statistics of a teacher's inner features over a data set. */
export interface FeatureStatisticsOptions {
  /** As for `loadTeacher`; a kind whose features are within reach: not ONNX, not a SavedModel. */
  readonly teacher: string;
  readonly backend?: 'auto' | BackendName;
  readonly description?: TeacherDescription;
  /** As for `openImages`. */
  readonly images: string;
  readonly split?: string;
  readonly fit?: ImageFit;
  /** Also the statistics of each class, which the images must then have. Default true. */
  readonly perClass?: boolean;
  /** Augmented views of each image: one is enough for a thousand images per class, few images need more. Default 1. */
  readonly views?: number;
  /** Smallest share of the image that a view shows. Default 0.08, as the methods' views. */
  readonly minCrop?: number;
  readonly seed?: number;
  /** Views per forward pass. Default 128. */
  readonly batch?: number;
  /** A safetensors file, written when all is done; what is done so far is kept in `<out>.parts` until then. */
  readonly out: string;
  /** Counts views. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  readonly signal?: AbortSignal;
}

export interface FeatureStatisticsResult {
  /** Batch norms, or convolutions of models without. */
  readonly taps: number;
  /** Of all taps together. */
  readonly channels: number;
  readonly images: number;
  readonly views: number;
  /** Classes with statistics of their own. */
  readonly classes: number;
}
