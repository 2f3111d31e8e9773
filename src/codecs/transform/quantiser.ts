import { multipleOf, SHIFT_UNIT } from '../../kernels/quantiser.js';
import {
  RANS_SLOTS,
  RANS_SYMBOLS,
  type RansModel,
  TRELLISES,
  type Trellis,
} from '../../kernels/rans.js';
import { type Histogram, histogramsOf, symbolOf } from './tables.js';

/**
 * Quantisation of coefficients to multiples of a unit: one step, or half a step with a trellis.
 *
 * Without a trellis index k stands for k units. With one (dependent quantisation) the state of a label's walk along
 * its components selects the quantiser: Q0 (context 0) has the even multiples, 2 k; Q1 has zero and the odd ones,
 * 2 k - sign k. Each component's values are moved towards zero by its own shift.
 */

/** Share of a unit from which on a value is rounded up: less than 1/2, for zeros are cheap. */
const ROUNDING_OFFSET = 0.35;
export interface QuantiserShape {
  readonly rank: number;
  readonly trellis: Trellis;
}

export function unitOf(step: number, trellis: Trellis): number {
  return trellis === 1 ? step : step / 2;
}

/** Base vectors are quantised at half the step of labels: an error in one is in the rest of many. */
export function baseStep(step: number): number {
  return step / 2;
}

/** Squared error, in units, that a bit is worth: the slope of a quantiser's error at high rates. */
const SLOPES = { 1: 0.115, 4: 0.4, 8: 0.4 } as const;

export function slopeOf(trellis: Trellis): number {
  return SLOPES[trellis];
}

/** Indices of rows that are quantised one value at a time, towards zero: [count] to [count]. */
export function roundToUnits(values: Float32Array, inverseUnit: number, out: Int16Array): void {
  for (let i = 0; i < values.length; i++) {
    const size = Math.floor(Math.abs(values[i]) * inverseUnit + ROUNDING_OFFSET);
    const bounded = Math.min(size, 32767);
    out[i] = values[i] < 0 ? -bounded : bounded;
  }
}

/** What an index costs in squared error, in units, by [rank, contexts, 256]. */
export type Costs = Float64Array;

export function costsOf({ tables, rowTables, trellis }: RansModel): Costs {
  const costs = new Float64Array(rowTables.length * RANS_SYMBOLS);
  for (const [i, table] of rowTables.entries()) {
    const own = tables.frequencies.subarray(table * RANS_SYMBOLS, (table + 1) * RANS_SYMBOLS);
    costs.set(costsOfFrequencies(own, trellis), i * RANS_SYMBOLS);
  }
  return costs;
}

/** The same from counts, before there are tables. */
export function costsOfCounts(histograms: readonly Histogram[], trellis: Trellis): Costs {
  const costs = new Float64Array(histograms.length * RANS_SYMBOLS);
  for (const [i, histogram] of histograms.entries()) {
    const total = histogram.reduce((sum, count) => sum + count, 0) + 1;
    const frequencies = histogram.map((count) => (count * RANS_SLOTS) / total);
    frequencies[0] += RANS_SLOTS / total / 2;
    costs.set(costsOfFrequencies(frequencies, trellis), i * RANS_SYMBOLS);
  }
  return costs;
}

/** Bits of an escaped value besides its symbol. */
const ESCAPED_BITS = 12;

function costsOfFrequencies(frequencies: ArrayLike<number>, trellis: Trellis): Float64Array {
  const least = 1 / 16;
  const bits = Float64Array.from(frequencies, (own) =>
    Math.log2(RANS_SLOTS / Math.max(own, least)),
  );
  bits[0] += ESCAPED_BITS;
  // What the table does not list is escaped.
  for (let i = 1; i < RANS_SYMBOLS; i++) if (frequencies[i] === 0) bits[i] = bits[0];
  const slope = slopeOf(trellis);
  return bits.map((own) => slope * own);
}

/** The quantiser of each index of labels [labels, rank]. */
export function contextsOf(indices: Int16Array, { rank, trellis }: QuantiserShape): Uint8Array {
  const contexts = new Uint8Array(indices.length);
  if (trellis === 1) return contexts;
  const { next, context } = TRELLISES[trellis];
  for (let begin = 0; begin < indices.length; begin += rank) {
    let state = 0;
    for (let i = begin; i < begin + rank; i++) {
      contexts[i] = context[state];
      state = next[2 * state + (indices[i] & 1)];
    }
  }
  return contexts;
}

/** Counts indices [labels, rank] by component and context: histograms [rank * contexts]. */
export function countIndices(
  indices: Int16Array,
  contexts: Uint8Array,
  { rank, trellis }: QuantiserShape,
): readonly Histogram[] {
  const each = trellis === 1 ? 1 : 2;
  const histograms = histogramsOf(rank * each);
  for (let i = 0; i < indices.length; i++) {
    histograms[each * (i % rank) + contexts[i]][symbolOf(indices[i])]++;
  }
  return histograms;
}

/** Bits of each label, by what its indices [labels, rank] cost. */
export function labelBits(indices: Int16Array, model: RansModel, rank: number): Float64Array {
  const { trellis } = model;
  const [costs, slope] = [costsOf(model), slopeOf(trellis)];
  const contexts = contextsOf(indices, { rank, trellis });
  const each = trellis === 1 ? 1 : 2;
  const bits = new Float64Array(indices.length / rank);
  for (let i = 0; i < indices.length; i++) {
    const row = each * (i % rank) + contexts[i];
    bits[Math.floor(i / rank)] += costs[row * RANS_SYMBOLS + symbolOf(indices[i])] / slope;
  }
  return bits;
}

/** Mean distance of the values from what their indices stand for, towards zero, in 128ths of a unit. */
export function learnShifts(
  values: Float32Array,
  indices: Int16Array,
  contexts: Uint8Array,
  { rank, trellis }: QuantiserShape,
): Int8Array {
  const [sums, counts] = [new Float64Array(rank), new Float64Array(rank)];
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i];
    if (index === 0) continue;
    const multiple = multipleOf(index, contexts[i], trellis);
    sums[i % rank] += Math.abs(multiple) - values[i] * Math.sign(index);
    counts[i % rank]++;
  }
  return Int8Array.from(sums, (sum, j) => {
    const shift = Math.round((SHIFT_UNIT * sum) / Math.max(counts[j], 1));
    return Math.min(Math.max(shift, -127), 127);
  });
}

/** Labels turned around at a time: rows of the result often lie 4 KB apart, which share the places of a cache. */
const TURNED = 64;

/** [labels, rank] to [rank, labels]; the other way round, if `rank` is the number of labels. */
export function transposed(indices: Int16Array, rank: number): Int16Array {
  const labels = indices.length / rank;
  const out = new Int16Array(indices.length);
  for (let begin = 0; begin < labels; begin += TURNED) {
    const end = Math.min(begin + TURNED, labels);
    for (let j = 0; j < rank; j++) {
      for (let i = begin; i < end; i++) out[j * labels + i] = indices[i * rank + j];
    }
  }
  return out;
}
