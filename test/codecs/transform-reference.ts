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
  readonly sideStates?: 1 | 4 | 8;
  readonly bases: number;
  readonly network?: {
    readonly embeddings: number;
    readonly innerBits: number;
    readonly outerBits: number;
  };
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

function matrixOf(bytes: Uint8Array, rows: number, columns: number, states = 1): number[][] {
  const tables = readRows(bytes, states === 1 ? rows : 2 * rows);
  return readStream(bytes.subarray(tables.end), tables, rows, columns, states);
}

/** Side data [rows][columns] in steps of their rows. */
function sidesOf(
  bytes: Uint8Array,
  shifts: Uint8Array,
  [rows, columns, states]: readonly number[],
) {
  const values = matrixOf(bytes, rows, columns, states);
  if (states === 1) return values;
  const own = [...shifts].map((shift) => (shift - 128) / 128);
  const columnOf = (column: number) =>
    latentOf(
      values.map((row) => row[column]),
      own,
      states,
      1,
    );
  const multiples = Array.from({ length: columns }, (_, column) => columnOf(column));
  return values.map((_, row) => multiples.map((own) => own[row]));
}

/** Base vectors [components][samples]. */
function basesOf(config: Config, data: (name: string) => Uint8Array, basis: readonly number[][]) {
  const { components, bases, step, sideStates = 1 } = config;
  const halves = (name: string) => {
    const bytes = data(name);
    return Array.from({ length: bytes.length / 2 }, (_, i) => half16(bytes, i));
  };
  const shape = [components, bases, sideStates];
  const multiples = sidesOf(data('bases'), data('base_shifts'), shape);
  const steps = halves('base_steps');
  const gains = halves('base_gains');
  const classes = gains.length === 0 ? [] : matrixOf(data('base_classes'), 1, bases)[0];
  let last = 0;
  const likeliest = classes.map((difference) => (last += difference));
  return multiples.map((row, j) =>
    row.map((multiple, i) => {
      const like = gains.length === 0 ? 0 : gains[j] * basis[1 + j][likeliest[i]];
      return multiple * step * (steps[j] ?? 0.5) + like;
    }),
  );
}

function half16(bytes: Uint8Array, i: number): number {
  const bits = bytes[2 * i] + 256 * bytes[2 * i + 1];
  return bits >= 0x8000 ? -half(bits - 0x8000) : half(bits);
}

function half(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  return exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Mixes of labels: sample, partner and share of the sample. */
export type Mix = readonly [number, number, number];

/** What a view shows: crops (top, left, height, width) as shares of their images, 1 if mirrored, a box as shares of the view. */
export interface View {
  readonly crops: readonly [readonly number[], readonly number[]];
  readonly flips: readonly [number, number];
  readonly box: readonly number[];
}

/** The 23 numbers of a view, in 64ths. */
export function referenceNumbers({ crops, flips, box }: View, lambda: number): number[] {
  const common = (a0: number, a1: number, b0: number, b1: number) =>
    Math.max(0, Math.min(a1, b1) - Math.max(a0, b0));
  const cut = box[2] * box[3] > 0;
  const rounded = (value: number) => Math.round(64 * value);
  const shares = crops.map(([top, left, height, width], image) =>
    [0, 1, 2, 3].map((quarter) => {
      const [y, x] = [quarter < 2 ? 0 : 0.5, quarter % 2 === 0 ? 0 : 0.5];
      const edges = (from: number, start: number, length: number) =>
        [from, from + 0.5].map((edge) => Math.min(1, Math.max(0, (edge - start) / length)));
      const [y0, y1] = edges(y, top, height);
      const across = edges(x, left, width);
      const [x0, x1] = flips[image] === 1 ? [1 - across[1], 1 - across[0]] : across;
      const inside =
        common(y0, y1, box[0], box[0] + box[2]) * common(x0, x1, box[1], box[1] + box[3]);
      const whole = common(y0, y1, 0, 1) * common(x0, x1, 0, 1);
      if (cut) return rounded(image === 0 ? whole - inside : inside);
      return rounded((image === 0 ? lambda : 1 - lambda) * whole);
    }),
  );
  const places = crops.map(([top, left, height, width], image) => [
    ...[top + height / 2 - 0.5, left + width / 2 - 0.5, height, width].map(rounded),
    flips[image] === 1 ? 32 : -32,
  ]);
  return [...shares.flat(), ...places.flat(), ...box.map(rounded), rounded(lambda)];
}

/** Predictions of a network, by label and component. */
function predictorOf({ network, components }: Config, data: (name: string) => Uint8Array) {
  if (network === undefined) return () => new Array<number>(components).fill(0);
  const { embeddings: samples, innerBits, outerBits } = network;
  const embeddings = matrixOf(data('embeddings'), 128, samples);
  const inner = matrixOf(data('inner'), 88, 256);
  const outer = matrixOf(data('outer'), components, 289);
  const scales = data('scales');
  return ([sample, partner]: Mix, numbers: readonly number[]) => {
    const sums = [sample, partner].map((id, image) =>
      Array.from({ length: 32 }, (_, k) =>
        [0, 1, 2, 3].reduce(
          (sum, cell) => sum + numbers[4 * image + cell] * embeddings[32 * cell + k][id],
          0,
        ),
      ),
    );
    const seen = [...sums.flat(), ...numbers.map((value) => 2 * value), 128];
    const hidden = Array.from({ length: 256 }, (_, k) => {
      const sum = seen.reduce((all, value, i) => all + value * inner[i][k], 0);
      return Math.min(Math.max(Math.round(sum / 2 ** innerBits), 0), 2047);
    });
    const second = [...hidden, ...sums[0].map((value, k) => value + sums[1][k]), 128];
    return outer.map((weights, j) => {
      const sum = weights.reduce((all, weight, i) => all + weight * second[i], 0);
      return (sum / 2 ** outerBits / 128) * half(scales[2 * j] + 256 * scales[2 * j + 1]);
    });
  };
}

/** Labels of a row at `tau`, [labels][classes]. */
export function referenceLabels(
  parts: CodecParts,
  row: Uint8Array,
  mixes: readonly Mix[],
  tau: number,
  views: readonly View[] = [],
): Float64Array[] {
  const config = parts.config as unknown as Config;
  const { classes, components, step, states, bases } = config;
  const data = (name: string) => parts.tensors.get(name)?.data ?? new Uint8Array();
  const steps = data('steps');
  const { sideStates = 1 } = config;
  const sides = [1 + components, classes, sideStates];
  const basis = sidesOf(data('basis'), data('basis_shifts'), sides).map((values, i) =>
    values.map((value) => value * half16(steps, i)),
  );
  const vectors = bases === 0 ? undefined : basesOf(config, data, basis);
  const contexts = states === 1 ? 1 : 2;
  const tables = readRows(data('tables'), components * contexts);
  const shifts = [...data('shifts')].map((shift) => (shift - 128) / 128);
  const predict = predictorOf(config, data);
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
      const mix = mixes[labels.length];
      const [sample, partner, share] = mix;
      const view = views[labels.length];
      const predicted = predict(mix, view === undefined ? [] : referenceNumbers(view, share));
      const logits = Float64Array.from({ length: classes }, (_, k) => {
        let sum = basis[0][k];
        for (let j = 0; j < components; j++) {
          const own = vectors === undefined ? 0 : vectors[j][sample];
          const other = vectors === undefined ? 0 : vectors[j][partner];
          sum += (latent[j] + predicted[j] + share * own + (1 - share) * other) * basis[1 + j][k];
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
