import { checkDecodeRans, checkEncodeRans, invalidStream, noFrequency } from '../check/rans.js';
import {
  type DecodeRansArgs,
  type EncodeRansArgs,
  RANS_MAX_LANES,
  RANS_SLOTS,
  RANS_SYMBOLS,
  TRELLISES,
  type Trellis,
} from '../rans.js';

const LEAST = 2 ** 16;
const ESCAPE = -128;
/** A stream has as many lanes as leave the bytes of their states below 1 % of it. */
const BYTES_PER_LANE = 512;

export function encodeRans(args: EncodeRansArgs): Uint8Array {
  const { values, tables, rowTables, columns, rows, trellis, lanes } = checkEncodeRans(args);
  const { frequencies } = tables;
  const escapes: number[] = [];
  const symbols = new Uint32Array(values.length);
  const walk = new Walk(trellis, columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = values[row * columns + column];
      const first = rowTables[walk.tableIndex(row, column)] * RANS_SYMBOLS;
      const own = value > ESCAPE && value < 128 ? first + value + 128 : first;
      const symbol = frequencies[own] === 0 ? first : own;
      if (frequencies[symbol] === 0) throw noFrequency();
      if (symbol === first) pushVarint(escapes, value < 0 ? -2 * value - 1 : 2 * value);
      symbols[row * columns + column] = symbol;
      walk.step(column, value);
    }
  }
  const coded = wordsOf(symbols, columns, frequencies, lanes);
  return streamOf(coded.states, coded.words, escapes);
}

interface Words {
  readonly states: Uint32Array;
  /** Last one first. */
  readonly words: readonly number[];
}

function wordsOf(
  symbols: Uint32Array,
  columns: number,
  frequencies: Uint16Array,
  lanes: number,
): Words {
  if (lanes > 0) return encodeWords(symbols, columns, frequencies, lanes);
  const { words } = encodeWords(symbols, columns, frequencies, 1);
  let fitting = 1;
  while (fitting < RANS_MAX_LANES && words.length >= fitting * BYTES_PER_LANE) fitting *= 2;
  return encodeWords(symbols, columns, frequencies, fitting);
}

function encodeWords(
  symbols: Uint32Array,
  columns: number,
  frequencies: Uint16Array,
  lanes: number,
): Words {
  const starts = new Uint16Array(frequencies.length);
  for (let i = 0; i < frequencies.length; i++) {
    starts[i] = i % RANS_SYMBOLS === 0 ? 0 : starts[i - 1] + frequencies[i - 1];
  }
  const states = new Uint32Array(lanes).fill(LEAST);
  const words: number[] = [];
  for (let i = symbols.length - 1; i >= 0; i--) {
    const lane = (i % columns) & (lanes - 1);
    const frequency = frequencies[symbols[i]];
    let state = states[lane];
    if (state >= frequency * 2 ** 20) {
      words.push(state & 0xffff);
      state >>>= 16;
    }
    const rest = state % frequency;
    states[lane] = ((state - rest) / frequency) * RANS_SLOTS + rest + starts[symbols[i]];
  }
  return { states, words };
}

function streamOf(
  states: Uint32Array,
  words: readonly number[],
  escapes: readonly number[],
): Uint8Array {
  const head = [Math.log2(states.length)];
  pushVarint(head, escapes.length);
  const wordsAt = head.length + 4 * states.length;
  const escapesAt = wordsAt + 2 * words.length;
  const bytes = new Uint8Array(escapesAt + escapes.length);
  const view = new DataView(bytes.buffer);
  bytes.set(head);
  for (const [lane, state] of states.entries()) view.setUint32(head.length + 4 * lane, state, true);
  for (const [i, word] of words.entries()) view.setUint16(escapesAt - 2 * (i + 1), word, true);
  bytes.set(escapes, escapesAt);
  return bytes;
}

function pushVarint(bytes: number[], value: number): void {
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
}

/** Reads a stream's bytes in order; every read is checked against their end. */
class ByteReader {
  at: number;
  readonly #bytes: Uint8Array;
  readonly #end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    if (end > bytes.length || at > end) throw invalidStream();
    this.#bytes = bytes;
    this.at = at;
    this.#end = end;
  }

  get done(): boolean {
    return this.at === this.#end;
  }

  byte(): number {
    if (this.at >= this.#end) throw invalidStream();
    return this.#bytes[this.at++];
  }

  word(): number {
    return this.byte() + 256 * this.byte();
  }

  varint(bits: number): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (value >= 2 ** bits || (byte === 0 && scale > 1)) throw invalidStream();
      if (byte < 0x80) return value;
    }
  }
}

export function decodeRans(args: DecodeRansArgs): void {
  const { bytes, tables, rowTables, columns, rows, trellis, out } = checkDecodeRans(args);
  const head = new ByteReader(bytes, 0, bytes.length);
  const logLanes = head.byte();
  if (logLanes > 5) throw invalidStream();
  const escapeBytes = head.varint(48);
  const states = Uint32Array.from({ length: 2 ** logLanes }, () => {
    return head.word() + head.word() * LEAST;
  });
  const words = new ByteReader(bytes, head.at, bytes.length - escapeBytes);
  const escapes = new ByteReader(bytes, bytes.length - escapeBytes, bytes.length);
  const { entries } = tables;
  const walk = new Walk(trellis, columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const lane = column & (states.length - 1);
      const state = states[lane];
      const first = rowTables[walk.tableIndex(row, column)] * RANS_SLOTS;
      const entry = entries[first + (state % RANS_SLOTS)];
      const next = ((entry & 0xfff) + 1) * (state >>> 12) + ((entry >>> 12) & 0xfff);
      states[lane] = next < LEAST ? next * LEAST + words.word() : next;
      out[row * columns + column] = entry >> 24;
    }
    const values = out.subarray(row * columns, (row + 1) * columns);
    for (const [column, value] of values.entries()) {
      if (value === ESCAPE) values[column] = unfolded(escapes.varint(16));
      walk.step(column, values[column]);
    }
  }
  const settled = states.every((state) => state === LEAST);
  if (!settled || !words.done || !escapes.done) throw invalidStream();
}

function unfolded(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** The states of all columns in a trellis. */
class Walk {
  readonly #trellis: (typeof TRELLISES)[4] | undefined;
  readonly #states: Uint8Array;

  constructor(trellis: Trellis, columns: number) {
    this.#trellis = trellis === 1 ? undefined : TRELLISES[trellis];
    this.#states = new Uint8Array(this.#trellis === undefined ? 0 : columns);
  }

  /** Index into `rowTables`. */
  tableIndex(row: number, column: number): number {
    if (this.#trellis === undefined) return row;
    return 2 * row + this.#trellis.context[this.#states[column]];
  }

  step(column: number, value: number): void {
    if (this.#trellis === undefined) return;
    this.#states[column] = this.#trellis.next[2 * this.#states[column] + (value & 1)];
  }
}
