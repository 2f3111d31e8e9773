import type { Trellis } from './rans.js';
import type { ThreadOptions } from './thread-options.js';

/**
 * Between logits and the integers that rans.ts codes: centring, dependent quantisation by a trellis search, and back.
 * native/core/quantiser.h says what an index stands for; all kernels give the same numbers.
 */

/** Shifts are in 128ths of a unit. */
export const SHIFT_UNIT = 128;
/** Sizes of values in units end here, and NaN counts as this: far outside of what a table lists. */
export const MOST_UNITS = 60_000;

/** Value of index `k`, in units, before the shift. */
export function multipleOf(k: number, context: number, trellis: Trellis): number {
  if (trellis === 1) return k;
  return context === 0 ? 2 * k : 2 * k - Math.sign(k);
}

/** `out = max(logit, most of its row - depth) - mean of these in its row - mean`. */
export interface CentreLogitsArgs extends ThreadOptions {
  /** [rows, classes]. */
  readonly logits: Float32Array;
  readonly classes: number;
  readonly depth: number;
  /** [classes]; zeros when absent. */
  readonly mean?: Float32Array;
  /** [rows, classes]. */
  readonly out: Float32Array;
}

/** The indices of labels whose squared error in units plus cost is least, by Viterbi's algorithm. */
export interface QuantiseArgs extends ThreadOptions {
  /** [labels, rank]. */
  readonly values: Float32Array;
  readonly unit: number;
  /** [rank]. */
  readonly shifts: Int8Array;
  /** [rank, 2, 256] by context and index + 128; at 0 that of indices beyond 127. */
  readonly costs: Float64Array;
  readonly trellis: Exclude<Trellis, 1>;
  /** [labels, rank]. */
  readonly out: Int16Array;
}

export interface DequantiseArgs extends ThreadOptions {
  /** [rank, labels], as a stream holds them. */
  readonly indices: Int16Array;
  /** [rank]. */
  readonly shifts: Int8Array;
  readonly unit: number;
  readonly trellis: Trellis;
  /** [labels, rank]. */
  readonly out: Float32Array;
}
