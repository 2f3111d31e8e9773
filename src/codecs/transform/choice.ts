import type { Trellis } from '../../kernels/rans.js';
import type { RatioChoice } from '../descriptor.js';

/** `predictive` is `transform` that may also predict labels from what their views show of an embedding of each image. */
export type TransformName = 'transform' | 'predictive';

/** Left open: found by a pilot. */
interface TransformForm {
  readonly components?: number;
  /** Of the trellis: 1 (none), 4 (default) or 8. */
  readonly states?: Trellis;
  /** Whether labels are predicted from a base vector per sample. */
  readonly bases?: boolean;
}

/** The same. */
interface PredictiveForm extends TransformForm {
  /** Whether a network predicts labels. */
  readonly network?: boolean;
}

type TransformSize =
  | { readonly rate: number; readonly step?: undefined; readonly kl?: undefined }
  | { readonly step: number; readonly rate?: undefined; readonly kl?: undefined }
  | { readonly kl: number; readonly rate?: undefined; readonly step?: undefined };

export type TransformSized = Readonly<{ name: 'transform' }> & TransformForm & TransformSize;
export type PredictiveSized = Readonly<{ name: 'predictive' }> & PredictiveForm & TransformSize;

/**
 * By `rate`, the bits per label that codes and tensors together may take; by `ratio`, 16 bits a class over that rate; by
 * `kl`, the mean KL divergence that decoded labels may have, nats, measured at their temperatures on labels that the codec
 * did not learn from; or by the quantiser's `step` in logits.
 */
export type TransformChoice = Readonly<{ name: 'transform' }> &
  TransformForm &
  (RatioChoice | TransformSize);

export type PredictiveChoice = Readonly<{ name: 'predictive' }> &
  PredictiveForm &
  (RatioChoice | TransformSize);
