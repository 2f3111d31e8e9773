import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import type { TokenRow } from './table2.js';

/** A mean with a 95 % interval. */
export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 2000;

/** Differences per label between students of the same seeds, and an interval over texts. */
export function paired(
  row: TokenRow,
  base: TokenRow,
  labels: readonly number[],
  of: 'kl' | 'nll',
): Interval {
  const seeds = Math.min(row.judged.length, base.judged.length);
  const differences = labels.map((_, text) => {
    let sum = 0;
    for (let s = 0; s < seeds; s++) sum += row.judged[s][of][text] - base.judged[s][of][text];
    return sum / seeds;
  });
  const ratio = (texts: readonly number[]) => {
    let [sum, count] = [0, 0];
    for (const text of texts) {
      sum += differences[text];
      count += labels[text];
    }
    return sum / count;
  };
  const random = new RandomSequence(0, STREAM.training, 3);
  const means = Array.from({ length: RESAMPLES }, () =>
    ratio(labels.map(() => random.below(labels.length))),
  ).sort((a, b) => a - b);
  const at = (share: number) => means[Math.floor(share * (RESAMPLES - 1))];
  return { mean: ratio(labels.map((_, i) => i)), low: at(0.025), high: at(0.975) };
}
