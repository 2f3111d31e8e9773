import { type Costs, costsOfCounts, slopeOf } from '../../codecs/transform/quantiser.js';
import { type Histogram, histogramsOf, symbolOf } from '../../codecs/transform/tables.js';
import type { ExactIds } from './exact-ids.js';

/** Corrections of logits, [labels], of the ids that are listed for each. */
export type Corrections = readonly Float64Array[];

/** How corrections become integers. */
export interface UnitRule {
  /** A unit, in nats. */
  readonly step: number;
  /** Divergence, in nats, that a bit is worth. */
  readonly slope: number;
}

const MOST_UNITS = 32_767;

/**
 * Corrections in units, one label after the other: the nearest ones, or those towards zero that save more bits than their
 * errors are worth. @param costs of an entropy table, as `costsOf` has them.
 */
export function unitsOf(
  corrections: Corrections,
  exact: readonly ExactIds[],
  { step, slope }: UnitRule,
  costs: Costs,
): Int16Array {
  const bit = slope / slopeOf(1);
  const out: number[] = [];
  for (const [label, { probabilities, rest }] of exact.entries()) {
    for (const [i, p] of probabilities.entries()) {
      const wanted = corrections[label][i] / step;
      const bounded = Math.max(-MOST_UNITS, Math.min(MOST_UNITS, wanted));
      // 1 - p where p is nearly 1.
      const others = probabilities.reduce((sum, own, j) => (j === i ? sum : sum + own), rest);
      // The divergence if this logit alone is wrong.
      const lossOf = (error: number) => Math.log(others + p * Math.exp(error)) - p * error;
      const costOf = (unit: number) => lossOf(step * (unit - wanted)) + bit * costs[symbolOf(unit)];
      const near = Math.round(bounded);
      let best = near;
      for (const unit of [near - Math.sign(near), 0]) if (costOf(unit) < costOf(best)) best = unit;
      out.push(best);
    }
  }
  return Int16Array.from(out);
}

/** How often each unit occurs, as it does with costs that follow from that: a few rounds of both. */
export function unitHistogram(
  corrections: Corrections,
  exact: readonly ExactIds[],
  rule: UnitRule,
): Histogram {
  let [histogram] = histogramsOf(1);
  for (let round = 0; round < ROUNDS; round++) {
    const costs = costsOfCounts([histogram], 1);
    const free = round === 0 ? { ...rule, slope: 0 } : rule;
    [histogram] = histogramsOf(1);
    for (const unit of unitsOf(corrections, exact, free, costs)) histogram[symbolOf(unit)]++;
  }
  return histogram;
}

const ROUNDS = 3;
