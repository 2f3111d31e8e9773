import { FieldChecker } from '../core/check.js';
import { LEAST_HALF } from './temperature.js';

/** Changes of labels before a codec sees them. */
export const LABEL_FILTERS = ['ferkd'] as const;
export type FilterName = (typeof LABEL_FILTERS)[number];

/** Classes that a view shows: of its image, and of what is mixed in. */
export interface ShownClasses {
  readonly own: number;
  /** The own class where nothing is mixed in. */
  readonly partner: number;
  /** Share of the view that shows the own image, 0 to 1. */
  readonly share: number;
}

export interface FerkdOptions {
  /**
   * Confidence in the shown classes below which a label is replaced: the teacher's probability of them at temperature 1.
   * Default 0.3.
   */
  readonly threshold?: number;
  /** Share of a smoothed hard label that all other classes get together; default 0.1. */
  readonly smoothing?: number;
}

const DEFAULTS = { threshold: 0.3, smoothing: 0.1 } as const;
const check = new FieldChecker('', 'INVALID_ARGUMENT');

/** With defaults, checked. */
export function ferkdOptions({
  threshold = DEFAULTS.threshold,
  smoothing = DEFAULTS.smoothing,
}: FerkdOptions): Required<FerkdOptions> {
  check.number(threshold, 'filter.threshold', 0, 1);
  check.that(smoothing > 0 && smoothing < 1, smoothing, 'filter.smoothing', 'a number in (0, 1)');
  return { threshold, smoothing };
}

/**
 * FerKD's adaptation of labels (Shen 2023): where the teacher hardly recognises what a view shows, as in crops of
 * background, its label is replaced by a smoothed hard one. The new logits are those of a teacher whose probabilities at
 * temperature 1 are the hard label: they soften with temperature as all others do. FerKD also leaves out the views
 * below a lower and above an upper threshold, which labels of every (epoch, sample) cannot.
 *
 * @param logits [rows, classes], changed in place.
 */
export function adaptLabels(
  logits: Float32Array,
  classes: number,
  shown: readonly ShownClasses[],
  { threshold, smoothing }: Required<FerkdOptions>,
): void {
  for (const [i, view] of shown.entries()) {
    const row = logits.subarray(i * classes, (i + 1) * classes);
    if (confidenceIn(row, view) < threshold) row.set(hardLogits(classes, view, smoothing));
  }
}

/** Probability of the shown classes together, at temperature 1. */
function confidenceIn(row: Float32Array, { own, partner }: ShownClasses): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of row) if (value > max) max = value;
  let sum = 0;
  for (const value of row) sum += Math.exp(value - max);
  const mixed = partner === own ? 0 : Math.exp(row[partner] - max);
  return (Math.exp(row[own] - max) + mixed) / sum;
}

function hardLogits(
  classes: number,
  { own, partner, share }: ShownClasses,
  smoothing: number,
): Float32Array {
  const others = classes - (partner === own ? 1 : 2);
  const left = others > 0 ? smoothing : 0;
  const row = new Float32Array(classes).fill(Math.log(left / Math.max(1, others)));
  const hard = (part: number) => Math.log(Math.max((1 - left) * part, LEAST_HALF));
  row[partner] = hard(1 - share);
  row[own] = hard(partner === own ? 1 : share);
  return row;
}
