import type { FieldChecker } from '../../core/check.js';
import { MAX_VOCABULARY } from '../config.js';

/** How hidden states are stored. */
export interface HiddenCodecConfig {
  readonly vocabulary: number;
  /** Dimensions of a hidden state. */
  readonly width: number;
  /** Coefficients stored per label. */
  readonly rank: number;
  /** Step of class 4; see {@link stepOf}. */
  readonly step: number;
  /** Of the trellis. */
  readonly states: 4 | 8;
  /** Rows of entropy tables: coefficients of about the same number of steps share one. */
  readonly bins: number;
  /** sha256 of the teacher's output matrix, [vocabulary, width] float32, little-endian. */
  readonly head: string;
  /** Most ids per label whose logits are corrected; absent, as is their step, if none are. */
  readonly exact?: number;
  /** Unit of corrections, in nats. */
  readonly exactStep?: number;
}

/** Classes of steps; a label's class is stored in 3 bits. */
export const STEP_CLASSES = 8;
/**
 * The class of a label of median sensitivity. Few are coarser: a label whose distribution is nearly certain does not change
 * by small errors, but by large ones.
 */
export const MIDDLE_CLASS = 4;
/** Widest hidden state; the largest models of today have 18,432. */
const MAX_WIDTH = 2 ** 16;
/** Tables of a row are told apart by a byte, and a trellis has two of them. */
const MAX_BINS = 128;

/** Most ids whose logits a label may correct. */
export const MAX_EXACT = 64;
/** Corrections are 16 bits of such units, so they are finite. */
const EXACT_STEPS = { least: 1e-6, most: 16 } as const;

export function stepOf(step: number, stepClass: number): number {
  return step * 2 ** ((stepClass - MIDDLE_CLASS) / 2);
}

export function checkHiddenConfig(
  config: HiddenCodecConfig,
  check: FieldChecker,
): HiddenCodecConfig {
  const { vocabulary, width, rank, step, states, bins, head, exact, exactStep } = config;
  check.count(vocabulary, 'vocabulary', 1, MAX_VOCABULARY);
  check.count(width, 'width', 1, MAX_WIDTH);
  check.count(rank, 'rank', 1, width);
  check.positive(step, 'step');
  check.that([4, 8].includes(states), states, 'states', '4 or 8');
  check.count(bins, 'bins', 1, MAX_BINS);
  check.digest(head, 'head');
  const shared = { vocabulary, width, rank, step, states, bins, head };
  if (exact === undefined && exactStep === undefined) return shared;
  check.count(exact, 'exact', 1, Math.min(MAX_EXACT, vocabulary - 1));
  const { least, most } = EXACT_STEPS;
  return { ...shared, exact, exactStep: check.number(exactStep, 'exactStep', least, most) };
}
