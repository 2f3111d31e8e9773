import { RANS_SLOTS, RANS_SYMBOLS, RansTables } from '../../kernels/rans.js';
import { invalidTensor } from '../tensors.js';

/**
 * Entropy tables of rows, learnt from counts and kept in a few bytes each. Frequencies follow from weights by integers
 * alone, so that every machine has the same.
 *
 * A table in bytes: the number n of listed values (u8), the first of them plus 128 (u8), the weight of escapes (u8),
 * above 0, then n weights (u8). Weight 0: no frequency; weight w > 0: (4 + (w - 1) % 4) * 2^((w - 1) / 4).
 */

/** Counts by `value + 128`; values beyond -127 to 127 count as symbol 0, the escape. */
export type Histogram = Float64Array;

export interface TableSet {
  readonly tables: RansTables;
  /** Table of each histogram. */
  readonly indices: Uint16Array;
  readonly bytes: Uint8Array;
}

const ESCAPE = 0;
/** Two bytes. */
const ESCAPED_BITS = 16;
const MAX_WEIGHT = 60;
/** Escapes count as at least this many values: tables learnt from a part of all values meet some that are new. */
const ESCAPE_COUNT = 0.5;
const TABLE_HEAD_BYTES = 3;
/** Rows name their table by a byte. */
const MAX_TABLES = 256;

export function symbolOf(value: number): number {
  return value > -128 && value < 128 ? value + 128 : ESCAPE;
}

export function histogramsOf(rows: number): Histogram[] {
  return Array.from({ length: rows }, () => new Float64Array(RANS_SYMBOLS));
}

/** Of each row of a matrix with so many columns. */
export function rowHistograms(values: Int16Array, columns: number): Histogram[] {
  const histograms = histogramsOf(values.length / columns);
  for (const [i, value] of values.entries()) {
    histograms[Math.floor(i / columns)][symbolOf(value)]++;
  }
  return histograms;
}

/** Bits that these values take with a table of their own. */
export function entropyBits(histogram: Histogram): number {
  let [total, sum] = [0, 0];
  for (const count of histogram) {
    if (count === 0) continue;
    total += count;
    sum += count * Math.log2(count);
  }
  return total === 0 ? 0 : total * Math.log2(total) - sum;
}

/** The same with what escapes take besides their symbols. */
export function bitsOfCounts(histogram: Histogram): number {
  return entropyBits(histogram) + ESCAPED_BITS * histogram[ESCAPE];
}

/**
 * Tables for rows with these counts; rows share a table if that costs less than its bytes. `repeats`: how often each
 * counted value will be coded.
 */
export function learnTables(histograms: readonly Histogram[], repeats: number): TableSet {
  const groups = mergedGroups(histograms, repeats);
  const indices = new Uint16Array(histograms.length);
  const parts = groups.map(({ histogram, members }, table) => {
    for (const member of members) indices[member] = table;
    return tableBytes(histogram);
  });
  const bytes = Uint8Array.from(parts.flatMap((part) => [...part]));
  return { tables: readTables('tables', bytes), indices, bytes };
}

interface Group {
  histogram: Histogram;
  /** Bits of its values and of its table. */
  bits: number;
  members: number[];
  /** Listed symbols. */
  first: number;
  last: number;
}

function groupOf(histogram: Histogram, members: number[], repeats: number): Group {
  const [first, last] = listedValues(histogram);
  const bits = bitsOf(repeats * entropyBits(histogram), first, last);
  return { histogram, bits, members, first, last };
}

/** Bits of values, and of the table that lists those between two. */
function bitsOf(values: number, first: number, last: number): number {
  return values + 8 * (TABLE_HEAD_BYTES + last + 1 - first);
}

/** What a table for both groups would save. */
function saving(a: Group, b: Group, repeats: number): number {
  const empty = (group: Group) => group.histogram[group.first] === 0;
  const first = empty(a) ? b.first : empty(b) ? a.first : Math.min(a.first, b.first);
  const last = empty(a) ? b.last : empty(b) ? a.last : Math.max(a.last, b.last);
  let [total, sum] = [0, 0];
  const add = (count: number) => {
    if (count === 0) return;
    total += count;
    sum += count * Math.log2(count);
  };
  add(a.histogram[ESCAPE] + b.histogram[ESCAPE]);
  for (let i = first; i <= last; i++) add(a.histogram[i] + b.histogram[i]);
  const values = total === 0 ? 0 : total * Math.log2(total) - sum;
  return a.bits + b.bits - bitsOf(repeats * values, first, last);
}

/** Merges the pair that saves most, or costs least while there are too many tables, until none saves. */
function mergedGroups(histograms: readonly Histogram[], repeats: number): readonly Group[] {
  const groups = histograms.map((histogram, i) => groupOf(histogram, [i], repeats));
  const joined = (a: Group, b: Group) =>
    groupOf(
      a.histogram.map((count, i) => count + b.histogram[i]),
      [...a.members, ...b.members],
      repeats,
    );
  const savings = groups.map((a, i) =>
    groups.map((b, j) => (j < i ? saving(a, b, repeats) : Number.NEGATIVE_INFINITY)),
  );
  for (;;) {
    let [best, at, other] = [groups.length > MAX_TABLES ? Number.NEGATIVE_INFINITY : 0, -1, -1];
    for (const [i, row] of savings.entries()) {
      for (let j = 0; j < i; j++) if (row[j] > best) [best, at, other] = [row[j], i, j];
    }
    if (at < 0) return groups;
    groups[other] = joined(groups[at], groups[other]);
    groups.splice(at, 1);
    savings.splice(at, 1);
    for (const row of savings) row.splice(at, 1);
    const merged = groups[other];
    for (const [i, group] of groups.entries()) {
      const [high, low] = [Math.max(i, other), Math.min(i, other)];
      if (high !== low) {
        savings[high][low] = saving(group, merged, repeats);
      }
    }
  }
}

/** First and last listed symbol; at least one symbol is listed. */
function listedValues(histogram: Histogram): readonly [number, number] {
  const first = histogram.findIndex((count, symbol) => symbol !== ESCAPE && count > 0);
  if (first < 0) return [128, 128];
  return [first, histogram.findLastIndex((count) => count > 0)];
}

function tableBytes(histogram: Histogram): Uint8Array {
  const [first, last] = listedValues(histogram);
  const total = histogram.reduce((sum, count) => sum + count, 0);
  const weightOf = (count: number) => {
    if (count === 0 || total === 0) return 0;
    // The weight of all values together would be 2^16.
    const target = Math.max(4, (count / total) * 2 ** 16);
    const octave = Math.floor(Math.log2(target)) - 2;
    const quarter = Math.round(target / 2 ** octave) - 4;
    return Math.min(1 + 4 * octave + quarter, MAX_WEIGHT);
  };
  const listed = Array.from(histogram.subarray(first, last + 1), weightOf);
  if (total === 0) listed[0] = MAX_WEIGHT;
  const escapes = Math.max(weightOf(Math.max(histogram[ESCAPE], ESCAPE_COUNT)), 1);
  return Uint8Array.of(listed.length, first, escapes, ...listed);
}

/** Tables of a codec's tensor; `INVALID_FILE` if its bytes are none. */
export function readTables(name: string, bytes: Uint8Array): RansTables {
  const frequencies: Uint16Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const [count, first] = [bytes[at], bytes[at + 1]];
    const end = at + TABLE_HEAD_BYTES + count;
    const escapes = bytes[at + 2];
    const valid = count > 0 && escapes > 0 && first > ESCAPE && first + count <= RANS_SYMBOLS;
    if (end > bytes.length || !valid) {
      throw invalidTensor(name, 'no entropy table', 'whole tables of values -127 to 127', at);
    }
    const weights = new Float64Array(RANS_SYMBOLS);
    weights[ESCAPE] = weightValue(name, escapes);
    for (let i = 0; i < count; i++) weights[first + i] = weightValue(name, bytes[at + 3 + i]);
    frequencies.push(frequenciesOf(name, weights));
    at = end;
  }
  const all = new Uint16Array(frequencies.length * RANS_SYMBOLS);
  for (const [i, own] of frequencies.entries()) all.set(own, i * RANS_SYMBOLS);
  return new RansTables(all);
}

function weightValue(name: string, weight: number): number {
  if (weight === 0) return 0;
  if (weight > MAX_WEIGHT) {
    throw invalidTensor(name, 'not a weight', `0 to ${MAX_WEIGHT}`, weight);
  }
  return (4 + ((weight - 1) % 4)) * 2 ** Math.floor((weight - 1) / 4);
}

/** Shares of 2^12 slots in proportion to the weights, rounded down but at least 1; the rest goes to the largest. */
function frequenciesOf(name: string, weights: Float64Array): Uint16Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) throw invalidTensor(name, 'no entropy table', 'a weight above 0', 'none');
  const share = (weight: number) => Math.max(1, Math.floor((RANS_SLOTS * weight) / total));
  const shares = Uint16Array.from(weights, (weight) => (weight === 0 ? 0 : share(weight)));
  let left = RANS_SLOTS - shares.reduce((sum, own) => sum + own, 0);
  const largest = () => shares.indexOf(shares.reduce((most, own) => Math.max(most, own), 0));
  if (left > 0) shares[largest()] += left;
  for (; left < 0; left++) shares[largest()]--;
  return shares;
}
