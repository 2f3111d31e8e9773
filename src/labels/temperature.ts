import { argument } from '../core/check.js';
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
  argument.positive(tau, 'tau');
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
 * @param tiny stands for a probability of zero; must be positive for finite logits.
 */
export function logitsFromProbabilities(
  probabilities: Float32Array,
  tau: number,
  out: Float32Array,
  tiny = LEAST_HALF,
): void {
  argument.positive(tau, 'tau');
  requireLength('out', out, probabilities.length);
  if (!(tiny > 0 && tiny < 1)) {
    const details = { field: 'tiny', expected: 'a number between 0 and 1', found: tiny };
    throw new SoftpackError('INVALID_ARGUMENT', 'not a probability', details);
  }
  for (let i = 0; i < out.length; ++i) out[i] = tau * Math.log(Math.max(probabilities[i], tiny));
}

/**
 * Labels at another temperature: y^(from / to), renormalised, is softmax(z / to) if y = softmax(z / from).
 * Exact zeros stay zeros.
 *
 * @param labels [rows, classes], changed in place.
 */
export function retemper(labels: Float32Array, classes: number, from: number, to: number): void {
  argument.positive(from, 'tau');
  argument.positive(to, 'tau');
  if (from === to) return;
  const power = from / to;
  for (let begin = 0; begin < labels.length; begin += classes) {
    const row = labels.subarray(begin, begin + classes);
    let max = 0;
    for (const value of row) if (value > max) max = value;
    let sum = 0;
    for (let j = 0; j < classes; j++) {
      // Relative to the row's largest, which keeps the sum at 1 or more.
      row[j] = (row[j] / max) ** power;
      sum += row[j];
    }
    for (let j = 0; j < classes; j++) row[j] /= sum;
  }
}

/** The temperature of each epoch. */
export type TemperatureSchedule = (epoch: number) => number;

/** `start`, times `factor` after every `every` epochs (LPQLD: 20, 0.7, 30). */
export function temperatureDecay({
  start = 20,
  factor = 0.7,
  every = 30,
}: {
  readonly start?: number;
  readonly factor?: number;
  readonly every?: number;
} = {}): TemperatureSchedule {
  return (epoch) => start * factor ** Math.floor(epoch / every);
}

/** Temperatures from `from` to `to`, both included. */
export interface TemperatureRange {
  readonly from: number;
  readonly to: number;
}

/**
 * The temperature T at which softmax(logits / T) is nearest to the labels, among those of a grid or of a range: the
 * argmin of the mean KL(labels || softmax(logits / T)); the lowest of equals. In a range it is exact to 1e-6 of T.
 *
 * @param logits a student's, [rows, classes]. @param labels [rows, classes].
 */
export function fitTemperature(
  logits: Float32Array,
  labels: Float32Array,
  classes: number,
  among: readonly number[] | TemperatureRange,
): number {
  requireLength('labels', labels, logits.length);
  if ('from' in among) return fitInRange(logits, labels, classes, among);
  let best = { temperature: Number.NaN, crossEntropy: Number.POSITIVE_INFINITY };
  for (const temperature of among) {
    argument.positive(temperature, 'tau');
    const { value } = crossEntropyAt(logits, labels, classes, 1 / temperature);
    if (value < best.crossEntropy) best = { temperature, crossEntropy: value };
  }
  return best.temperature;
}

/** Halvings of a range: 1e-6 of the lowest temperature in a range of 1 to 100, and far less than that above it. */
const HALVINGS = 30;

/** The cross-entropy is convex in s = 1 / T: halves the range of s towards the zero of its slope. */
function fitInRange(
  logits: Float32Array,
  labels: Float32Array,
  classes: number,
  { from, to }: TemperatureRange,
): number {
  argument.positive(from, 'tau');
  argument.that(to >= from, to, 'tau', `a range from ${from} on`);
  const rising = (s: number) => crossEntropyAt(logits, labels, classes, s).slope > 0;
  let [low, high] = [1 / to, 1 / from];
  if (rising(low)) return to;
  if (!rising(high)) return from;
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (rising(middle)) high = middle;
    else low = middle;
  }
  return 2 / (low + high);
}

/** KL less the labels' own entropy, which no temperature changes, and its derivative by s = 1 / T. */
function crossEntropyAt(
  logits: Float32Array,
  labels: Float32Array,
  classes: number,
  s: number,
): { readonly value: number; readonly slope: number } {
  let value = 0;
  let slope = 0;
  for (let begin = 0; begin < logits.length; begin += classes) {
    const end = begin + classes;
    let max = Number.NEGATIVE_INFINITY;
    for (let j = begin; j < end; ++j) if (logits[j] > max) max = logits[j];
    let [sum, weighted, dot] = [0, 0, 0];
    for (let j = begin; j < end; ++j) {
      const z = logits[j] - max;
      const e = Math.exp(s * z);
      sum += e;
      weighted += e * z;
      dot += labels[j] * z;
    }
    value += Math.log(sum) - s * dot;
    slope += weighted / sum - dot;
  }
  return { value, slope };
}

function requireLength(field: string, array: Float32Array, expected: number): void {
  if (array.length === expected) return;
  argument.fail(field, 'wrong number of elements', expected, array.length);
}
