// The error of a contender's results for the first labels of a workload.
import {
  CHECKED,
  decoded,
  differences,
  divergence,
  excessDistance,
  meanDivergence,
  projected,
} from './oracle.mjs';
import { TAU } from './settings.mjs';

const expectations = new WeakMap();

/** Errors of `output`, the result of the operation's contenders; see oracle.mjs for their meaning. */
export function verify(op, workload, output) {
  const expected = expectedOf(op, workload);
  if (op === 'decode_kl') {
    const { error, maxError } = differences(output.gradient, expected.gradient);
    const losses = differences(output.losses, expected.losses);
    return { error, maxError, lossError: losses.error, rowSum: largestRowSum(output.gradient) };
  }
  if (op === 'nearest' || op === 'encode' || op === 'encode-low-entropy') {
    const { weights, setting } = op === 'encode-low-entropy' ? workload.lowEntropy : workload;
    return excessDistance(output, expected, weights.codebook, setting.dc);
  }
  const errors = differences(output, expected);
  return op === 'project' ? errors : { ...errors, kl: meanDivergence(expected, output) };
}

function expectedOf(op, workload) {
  if (!expectations.has(workload)) expectations.set(workload, new Map());
  const known = expectations.get(workload);
  if (!known.has(op)) known.set(op, compute(op, workload));
  return known.get(op);
}

function compute(op, workload) {
  const first = Array.from({ length: CHECKED }, (_, i) => i);
  const { studentLogits, classes, latent, lowEntropy, order, setting } = workload;
  switch (op) {
    case 'decode':
    case 'decode-one':
      return decoded(workload, first);
    case 'decode-gather':
      return decoded(workload, [...order.subarray(0, CHECKED)]);
    case 'decode_kl':
      return divergence(decoded(workload, first), studentLogits, classes, TAU);
    case 'nearest':
      return Float64Array.from(latent.subarray(0, CHECKED * setting.dh));
    case 'encode-low-entropy':
      return projected(lowEntropy, CHECKED);
    default:
      return projected(workload, CHECKED);
  }
}

/** Largest |sum of a gradient's row| over the row's sum of magnitudes: 0 in exact arithmetic. */
function largestRowSum(gradient) {
  const classes = gradient.length / CHECKED;
  let largest = 0;
  for (let at = 0; at < gradient.length; at += classes) {
    const row = gradient.subarray(at, at + classes);
    const magnitude = row.reduce((sum, value) => sum + Math.abs(value), 0);
    largest = Math.max(largest, Math.abs(row.reduce((sum, value) => sum + value, 0)) / magnitude);
  }
  return largest;
}
