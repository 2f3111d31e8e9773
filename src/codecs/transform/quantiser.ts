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
/** Shifts are stored in 128ths of a unit. */
export const SHIFT_UNIT = 128;

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

/** Value of index `k`, in units, before the shift. */
function multipleOf(k: number, context: number, trellis: Trellis): number {
  if (trellis === 1) return k;
  return context === 0 ? 2 * k : 2 * k - Math.sign(k);
}

/** Indices of rows that are quantised one value at a time, towards zero: [count] to [count]. */
export function roundToUnits(values: Float32Array, inverseUnit: number, out: Int16Array): void {
  for (let i = 0; i < values.length; i++) {
    const size = Math.floor(Math.abs(values[i]) * inverseUnit + ROUNDING_OFFSET);
    const bounded = Math.min(size, 32767);
    out[i] = values[i] < 0 ? -bounded : bounded;
  }
}

/** What an index costs: bits by [rank, contexts, 256]. */
export type Rates = Float64Array;

export function ratesOf({ tables, rowTables }: RansModel): Rates {
  const rates = new Float64Array(rowTables.length * RANS_SYMBOLS);
  for (const [i, table] of rowTables.entries()) {
    const own = tables.frequencies.subarray(table * RANS_SYMBOLS, (table + 1) * RANS_SYMBOLS);
    rates.set(bitsOfFrequencies(own), i * RANS_SYMBOLS);
  }
  return rates;
}

/** The same from counts, before there are tables. */
export function ratesOfCounts(histograms: readonly Histogram[]): Rates {
  const rates = new Float64Array(histograms.length * RANS_SYMBOLS);
  for (const [i, histogram] of histograms.entries()) {
    const total = histogram.reduce((sum, count) => sum + count, 0) + 1;
    const frequencies = histogram.map((count) => (count * RANS_SLOTS) / total);
    frequencies[0] += RANS_SLOTS / total / 2;
    rates.set(bitsOfFrequencies(frequencies), i * RANS_SYMBOLS);
  }
  return rates;
}

/** Bits of an escaped value besides its symbol. */
const ESCAPED_BITS = 12;

function bitsOfFrequencies(frequencies: ArrayLike<number>): Float64Array {
  const least = 1 / 16;
  const bits = Float64Array.from(frequencies, (own) =>
    Math.log2(RANS_SLOTS / Math.max(own, least)),
  );
  bits[0] += ESCAPED_BITS;
  // What the table does not list is escaped.
  for (let i = 1; i < RANS_SYMBOLS; i++) if (frequencies[i] === 0) bits[i] = bits[0];
  return bits;
}

/** Counts indices [labels, rank] by component and context: histograms [rank * contexts]. */
export function countIndices(
  indices: Int16Array,
  { rank, trellis }: QuantiserShape,
): readonly Histogram[] {
  const contexts = trellis === 1 ? 1 : 2;
  const histograms = histogramsOf(rank * contexts);
  const walk = trellis === 1 ? undefined : TRELLISES[trellis];
  for (let begin = 0; begin < indices.length; begin += rank) {
    let state = 0;
    for (let j = 0; j < rank; j++) {
      const index = indices[begin + j];
      const context = walk === undefined ? 0 : walk.context[state];
      histograms[contexts * j + context][symbolOf(index)]++;
      if (walk !== undefined) state = walk.next[2 * state + (index & 1)];
    }
  }
  return histograms;
}

/** Mean distance of the values from what their indices stand for, towards zero, in 128ths of a unit. */
export function learnShifts(
  values: Float32Array,
  indices: Int16Array,
  { rank, trellis }: QuantiserShape,
): Int8Array {
  const [sums, counts] = [new Float64Array(rank), new Float64Array(rank)];
  const walk = trellis === 1 ? undefined : TRELLISES[trellis];
  for (let begin = 0; begin < indices.length; begin += rank) {
    let state = 0;
    for (let j = 0; j < rank; j++) {
      const index = indices[begin + j];
      const context = walk === undefined ? 0 : walk.context[state];
      if (index !== 0) {
        const multiple = multipleOf(index, context, trellis);
        sums[j] += Math.abs(multiple) - values[begin + j] * Math.sign(index);
        counts[j]++;
      }
      if (walk !== undefined) state = walk.next[2 * state + (index & 1)];
    }
  }
  return Int8Array.from(sums, (sum, j) => {
    const shift = Math.round((SHIFT_UNIT * sum) / Math.max(counts[j], 1));
    return Math.min(Math.max(shift, -127), 127);
  });
}

/**
 * Values of indices.
 *
 * @param indices [rank, labels], as a stream holds them.
 * @param out [labels, rank].
 */
export function dequantise(
  indices: Int16Array,
  shifts: Int8Array,
  unit: number,
  { rank, trellis }: QuantiserShape,
  out: Float32Array,
): void {
  const labels = indices.length / rank;
  const walk = trellis === 1 ? undefined : TRELLISES[trellis];
  const states = new Uint8Array(labels);
  for (let j = 0; j < rank; j++) {
    const shift = shifts[j] / SHIFT_UNIT;
    for (let i = 0; i < labels; i++) {
      const index = indices[j * labels + i];
      let multiple = index;
      if (walk !== undefined) {
        const context = walk.context[states[i]];
        multiple = multipleOf(index, context, trellis);
        states[i] = walk.next[2 * states[i] + (index & 1)];
      }
      const moved = multiple > 0 ? multiple - shift : multiple < 0 ? multiple + shift : 0;
      out[i * rank + j] = moved * unit;
    }
  }
}

/** [labels, rank] to [rank, labels]. */
export function transposed(indices: Int16Array, rank: number): Int16Array {
  const labels = indices.length / rank;
  const out = new Int16Array(indices.length);
  for (let i = 0; i < labels; i++) {
    for (let j = 0; j < rank; j++) out[j * labels + i] = indices[i * rank + j];
  }
  return out;
}
