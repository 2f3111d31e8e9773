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

/** Seeds that both rows have students of. */
export function commonSeeds(row: TokenRow, base: TokenRow): readonly number[] {
  const known = new Set(base.judged.map(({ seed }) => seed));
  return row.judged.map(({ seed }) => seed).filter((seed) => known.has(seed));
}

/**
 * Differences per label between students of the same seeds, and an interval over texts.
 *
 * @param seeds that both rows have students of, at least one.
 */
export function paired(
  row: TokenRow,
  base: TokenRow,
  labels: readonly number[],
  of: 'kl' | 'nll',
  seeds: readonly number[] = commonSeeds(row, base),
): Interval {
  const sums = (own: TokenRow, text: number) =>
    own.judged
      .filter(({ seed }) => seeds.includes(seed))
      .reduce((sum, judged) => sum + judged[of][text], 0);
  const differences = labels.map((_, text) => (sums(row, text) - sums(base, text)) / seeds.length);
  return meanOf(differences, labels);
}

/** The mean of students' scores, a text each, and an interval over texts. */
export function meanScore(scores: readonly (readonly number[])[]): Interval {
  const texts = scores[0].map((_, text) => {
    const sum = scores.reduce((all, own) => all + own[text], 0);
    return sum / scores.length;
  });
  return meanOf(
    texts,
    texts.map(() => 1),
  );
}

/** Sum of values by sum of weights, both of texts. */
function meanOf(values: readonly number[], weights: readonly number[]): Interval {
  const ratio = (texts: readonly number[]) => {
    let [sum, count] = [0, 0];
    for (const text of texts) {
      sum += values[text];
      count += weights[text];
    }
    return sum / count;
  };
  const random = new RandomSequence(0, STREAM.training, 3);
  const means = Array.from({ length: RESAMPLES }, () =>
    ratio(weights.map(() => random.below(weights.length))),
  ).sort((a, b) => a - b);
  const at = (share: number) => means[Math.floor(share * (RESAMPLES - 1))];
  return { mean: ratio(weights.map((_, i) => i)), low: at(0.025), high: at(0.975) };
}
