import { SoftpackError } from '../errors.js';

/**
 * Turns logits into labels: y = softmax(z / tau), row by row, with the row's maximum subtracted first.
 *
 * @param logits [rows, classes], finite.
 * @param out [rows, classes]; may be `logits` itself.
 */
export function softmaxRows(
  logits: Float32Array,
  rows: number,
  classes: number,
  tau: number,
  out: Float32Array,
): void {
  requireTau(tau);
  requireLength('logits', logits, rows * classes);
  requireLength('out', out, rows * classes);
  for (let begin = 0; begin < rows * classes; begin += classes) {
    const end = begin + classes;
    let max = Number.NEGATIVE_INFINITY;
    for (let j = begin; j < end; ++j) if (logits[j] > max) max = logits[j];
    let sum = 0;
    for (let j = begin; j < end; ++j) {
      const e = Math.exp((logits[j] - max) / tau);
      out[j] = e;
      sum += e;
    }
    for (let j = begin; j < end; ++j) out[j] /= sum;
  }
}

/** The least positive half float: a zero in a file of half-float probabilities means "below half of this". */
export const LEAST_HALF = 2 ** -24;

/**
 * Logits that give these probabilities back at temperature tau: z = tau * log(max(p, tiny)).
 *
 * @param out as long as `probabilities`; may be the same array.
 * @param tiny what a probability of zero is taken for; finite logits need it positive.
 */
export function logitsFromProbabilities(
  probabilities: Float32Array,
  tau: number,
  out: Float32Array,
  tiny = LEAST_HALF,
): void {
  requireTau(tau);
  requireLength('out', out, probabilities.length);
  if (!(tiny > 0 && tiny < 1)) {
    const details = { field: 'tiny', expected: 'a number between 0 and 1', found: tiny };
    throw new SoftpackError('INVALID_ARGUMENT', 'not a probability', details);
  }
  for (let i = 0; i < out.length; ++i) out[i] = tau * Math.log(Math.max(probabilities[i], tiny));
}

function requireTau(tau: number): void {
  if (tau > 0 && tau < Number.POSITIVE_INFINITY) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'not a temperature', {
    field: 'tau',
    expected: 'a positive number',
    found: tau,
  });
}

function requireLength(field: string, array: Float32Array, expected: number): void {
  if (array.length === expected) return;
  const details = { field, expected, found: array.length };
  throw new SoftpackError('INVALID_ARGUMENT', 'wrong number of elements', details);
}
