import { splitBlocks } from '#src/core/blocks.js';
import type { CodecParts } from '#src/core/codec-parts.js';

/**
 * The transform codec's labels by the words of docs/codecs.md and native/core/rans.h: one value at a time, in float64.
 * Shares no code with the library but the cutting of a row into blocks.
 */

interface Config {
  readonly classes: number;
  readonly components: number;
  readonly step: number;
  readonly states: 1 | 4 | 8;
  readonly bases: number;
}

interface Walk {
  readonly next: readonly (readonly [number, number])[];
  /** The quantiser of each state. */
  readonly quantiser: readonly number[];
}

const WALKS: Readonly<Record<number, Walk>> = {
  1: { next: [[0, 0]], quantiser: [0] },
  4: {
    next: [
      [0, 2],
      [2, 0],
      [1, 3],
      [3, 1],
    ],
    quantiser: [0, 0, 1, 1],
  },
  8: {
    next: [
      [0, 1],
      [3, 2],
      [5, 4],
      [6, 7],
      [1, 0],
      [2, 3],
      [4, 5],
      [7, 6],
    ],
    quantiser: [0, 1, 0, 1, 0, 1, 0, 1],
  },
};

/** Frequencies of 256 symbols. */
type Table = readonly number[];

/** Tables, the table of each row (and quantiser), and where they end. */
interface Rows {
  readonly tables: readonly Table[];
  readonly ofRow: readonly number[];
  readonly end: number;
}

function readRows(bytes: Uint8Array, count: number): Rows {
  const end = 2 + bytes[0] + 256 * bytes[1];
  const tables: Table[] = [];
  const weight = (w: number) => (w === 0 ? 0 : (4 + ((w - 1) % 4)) * 2 ** Math.floor((w - 1) / 4));
  for (let at = 2; at < end; ) {
    const [n, first, rest] = bytes.subarray(at, at + 3);
    const weights = new Array<number>(256).fill(0);
    weights[0] = weight(rest);
    for (let i = 0; i < n; i++) weights[first + i] = weight(bytes[at + 3 + i]);
    const total = weights.reduce((sum, own) => sum + own, 0);
    const shares = weights.map((own) =>
      own === 0 ? 0 : Math.max(1, Math.floor((4096 * own) / total)),
    );
    let left = 4096 - shares.reduce((sum, own) => sum + own, 0);
    if (left > 0) shares[shares.indexOf(Math.max(...shares))] += left;
    for (; left < 0; left++) shares[shares.indexOf(Math.max(...shares))]--;
    tables.push(shares);
    at += 3 + n;
  }
  return { tables, ofRow: [...bytes.subarray(end, end + count)], end: end + count };
}

/** Values [rows, columns] of a stream. */
function readStream(
  bytes: Uint8Array,
  { tables, ofRow }: Rows,
  rows: number,
  columns: number,
  states: number,
): number[][] {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const lanes = 2 ** bytes[at++];
  const escapeBytes = varint();
  const word = () => bytes[at++] + 256 * bytes[at++];
  const xs = Array.from({ length: lanes }, () => word() + 65536 * word());
  const { next, quantiser } = WALKS[states];
  const walk = new Array<number>(columns).fill(0);
  let escapeAt = bytes.length - escapeBytes;
  const escaped = () => {
    let folded = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[escapeAt++];
      folded += (byte & 127) * 2 ** shift;
      if (byte < 128) return folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2;
    }
  };
  const values: number[][] = [];
  for (let row = 0; row < rows; row++) {
    values.push([]);
    for (let column = 0; column < columns; column++) {
      const x = xs[column % lanes];
      const table = tables[ofRow[states === 1 ? row : 2 * row + quantiser[walk[column]]]];
      const slot = x % 4096;
      let [symbol, start] = [0, 0];
      while (start + table[symbol] <= slot) start += table[symbol++];
      let following = table[symbol] * Math.floor(x / 4096) + slot - start;
      if (following < 65536) following = 65536 * following + word();
      xs[column % lanes] = following;
      const value = symbol === 0 ? escaped() : symbol - 128;
      values[row].push(value);
      if (states > 1) walk[column] = next[walk[column]][Math.abs(value) % 2];
    }
  }
  if (xs.some((x) => x !== 65536)) throw new Error('lanes do not end as they began');
  if (at !== bytes.length - escapeBytes || escapeAt !== bytes.length) throw new Error('left over');
  return values;
}

function matrixOf(bytes: Uint8Array, rows: number, columns: number): number[][] {
  const tables = readRows(bytes, rows);
  return readStream(bytes.subarray(tables.end), tables, rows, columns, 1);
}

function half(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  return exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Mixes of labels: sample, partner and share of the sample. */
export type Mix = readonly [number, number, number];

/** Labels of a row at `tau`, [labels][classes]. */
export function referenceLabels(
  parts: CodecParts,
  row: Uint8Array,
  mixes: readonly Mix[],
  tau: number,
): Float64Array[] {
  const config = parts.config as unknown as Config;
  const { classes, components, step, states, bases } = config;
  const data = (name: string) => parts.tensors.get(name)?.data ?? new Uint8Array();
  const steps = data('steps');
  const basis = matrixOf(data('basis'), 1 + components, classes).map((values, i) =>
    values.map((value) => value * half(steps[2 * i] + 256 * steps[2 * i + 1])),
  );
  const vectors = bases === 0 ? undefined : matrixOf(data('bases'), components, bases);
  const contexts = states === 1 ? 1 : 2;
  const tables = readRows(data('tables'), components * contexts);
  const shifts = [...data('shifts')].map((shift) => (shift - 128) / 128);
  const labels: Float64Array[] = [];
  for (const block of splitBlocks(row)) {
    const count = block[0] + 256 * block[1];
    const values = readStream(block.subarray(2), tables, components, count, states);
    for (let i = 0; i < count; i++) {
      const latent = latentOf(
        values.map((own) => own[i]),
        shifts,
        states,
        step,
      );
      const [sample, partner, share] = mixes[labels.length];
      const logits = Float64Array.from({ length: classes }, (_, k) => {
        let sum = basis[0][k];
        for (let j = 0; j < components; j++) {
          const own = vectors === undefined ? 0 : (vectors[j][sample] * step) / 2;
          const other = vectors === undefined ? 0 : (vectors[j][partner] * step) / 2;
          sum += (latent[j] + share * own + (1 - share) * other) * basis[1 + j][k];
        }
        return sum;
      });
      const most = Math.max(...logits);
      const weights = logits.map((z) => Math.exp((z - most) / tau));
      const sum = weights.reduce((all, own) => all + own, 0);
      labels.push(weights.map((own) => own / sum));
    }
  }
  return labels;
}

function latentOf(
  indices: readonly number[],
  shifts: readonly number[],
  states: number,
  step: number,
): number[] {
  const { next, quantiser } = WALKS[states];
  let state = 0;
  return indices.map((index, j) => {
    const odd = quantiser[state] === 1;
    const multiple = states === 1 ? index : 2 * index - (odd ? Math.sign(index) : 0);
    state = next[state][Math.abs(index) % 2];
    const size = Math.abs(multiple) - shifts[j];
    const value = index === 0 ? 0 : Math.sign(index) * size;
    return states === 1 ? value * step : (value * step) / 2;
  });
}
