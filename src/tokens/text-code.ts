import type { BitWriter } from '../core/bit-stream.js';
import { areCodeLengths, codeLengths, MAX_CODE_BITS, PrefixCode } from '../core/prefix-code.js';
import type { Renaming } from './renaming.js';
import { invalidCodes } from './sequence-error.js';

/** Ids that labels list. */
export interface LabelIds {
  /** Position in the text of the first of these labels: its row tells of the id behind it. */
  readonly first: number;
  readonly rows: number;
  /** Entries of a label. */
  readonly width: number;
  /** [rows, width], as texts are told by them: 0 behind the last entry. */
  readonly ids: Int32Array;
}

export const NO_LABELS: LabelIds = { first: 0, rows: 0, width: 0, ids: new Int32Array() };

/**
 * Ids of texts as symbols of a prefix code: where the id stands in the label of the position before it, or the octave of
 * its name and then, in as many bits, which of it. There is a code for ids behind a label and one for others.
 */
export class TextCode {
  readonly vocabulary: number;
  /** Entries of a label that have a symbol. */
  readonly ranks: number;
  /** [2, ranks + octaves]: of ids behind a label, and of others. */
  readonly lengths: Uint8Array;
  readonly #codes: readonly [PrefixCode, PrefixCode];
  readonly #renaming: Renaming;

  /** @param lengths as {@link areTextLengths} wants them. */
  constructor(renaming: Renaming, ranks: number, lengths: Uint8Array) {
    this.vocabulary = renaming.ids.length;
    this.ranks = ranks;
    this.lengths = lengths;
    const half = lengths.length / 2;
    this.#codes = [
      new PrefixCode(lengths.slice(0, half)),
      new PrefixCode(lengths.slice(half, 2 * half)),
    ];
    this.#renaming = renaming;
  }

  encode(writer: BitWriter, tokens: Int32Array, start: number, end: number, labels: LabelIds) {
    const [behind, other] = this.#codes;
    for (let position = start; position < end; position++) {
      const id = tokens[position];
      const row = rowOf(labels, position);
      const code = row < 0 ? other : behind;
      const rank = row < 0 ? -1 : rankOf(id, labels, row, this.ranks);
      if (rank >= 0) {
        writer.write(code.codes[rank], code.lengths[rank]);
        continue;
      }
      const name = this.#renaming.names[id] + 1;
      const octave = octaveOf(name);
      const symbol = this.ranks + octave;
      writer.write(code.codes[symbol], code.lengths[symbol]);
      writer.write(name - 2 ** octave, octave);
    }
  }

  /** Fills `out` with ids of positions from `start` on, which begin at a bit; returns where they end. */
  decode(bytes: Uint8Array, at: number, out: Int32Array, start: number, labels: LabelIds): number {
    const { ranks, vocabulary } = this;
    const { ids } = this.#renaming;
    const [behind, other] = this.#codes;
    const last = 2 ** MAX_CODE_BITS - 1;
    let bit = at;
    for (let i = 0; i < out.length; i++) {
      const row = rowOf(labels, start + i);
      const found = (row < 0 ? other : behind).table[bitsAt(bytes, bit) & last];
      if (found === 0) throw invalidCodes('codes of a text', 'others');
      bit += found & 15;
      const symbol = found >> 4;
      if (symbol < ranks) {
        out[i] = labels.ids[row * labels.width + symbol];
        continue;
      }
      const octave = symbol - ranks;
      const name = 2 ** octave + (bitsAt(bytes, bit) & (2 ** octave - 1)) - 1;
      if (name >= vocabulary) throw invalidCodes(`names below ${vocabulary}`, name);
      bit += octave;
      out[i] = ids[name];
    }
    return bit;
  }
}

/** Numbers of bits of names + 1. */
function octavesOf(vocabulary: number): number {
  return octaveOf(vocabulary) + 1;
}

export function textSymbols(vocabulary: number, ranks: number): number {
  return ranks + octavesOf(vocabulary);
}

/** Whether both codes exist, and ids without a label are not told by one. */
export function areTextLengths(lengths: Uint8Array, ranks: number): boolean {
  const half = lengths.length / 2;
  const [behind, other] = [lengths.subarray(0, half), lengths.subarray(half)];
  const unlabelled = other.subarray(0, ranks).every((length) => length === 0);
  return unlabelled && areCodeLengths(behind) && areCodeLengths(other);
}

/** How often ids followed a label or were anywhere in a text, for the codes of such ids. */
export class TextCounts {
  readonly #ranks: Float64Array;
  /** [vocabulary] each: of ids that the label before them did not list, and of all. */
  readonly #unlisted: Float64Array;
  readonly #all: Float64Array;

  constructor(vocabulary: number, ranks: number) {
    this.#ranks = new Float64Array(ranks);
    this.#unlisted = new Float64Array(vocabulary);
    this.#all = new Float64Array(vocabulary);
  }

  add(tokens: Int32Array, labels: LabelIds): void {
    for (const [position, id] of tokens.entries()) {
      this.#all[id]++;
      const row = rowOf(labels, position);
      if (row < 0) continue;
      const rank = rankOf(id, labels, row, this.#ranks.length);
      if (rank >= 0) this.#ranks[rank]++;
      else this.#unlisted[id]++;
    }
  }

  /** @param ordered entries whose place is known before ids are renamed; those behind them are taken for equally frequent. */
  code(renaming: Renaming, ordered: number): TextCode {
    const ranks = this.#ranks;
    const others = ranks.slice(ordered).reduce((sum, count) => sum + count, 0);
    const each = others / Math.max(ranks.length - ordered, 1);
    const counts = Array.from(ranks, (count, rank) => 1 + (rank < ordered ? count : each));
    const behind = codeLengths([...counts, ...octaveCounts(this.#unlisted, renaming)]);
    const none = Array.from(ranks, () => 0);
    const other = codeLengths([...none, ...octaveCounts(this.#all, renaming)]);
    return new TextCode(renaming, ranks.length, Uint8Array.of(...behind, ...other));
  }
}

/** One more than was counted each: any id can be stored. */
function octaveCounts(counts: Float64Array, { names }: Renaming): number[] {
  const octaves = Array.from({ length: octavesOf(counts.length) }, () => 1);
  for (const [id, count] of counts.entries()) octaves[octaveOf(names[id] + 1)] += count;
  return octaves;
}

/** Of the label before a position; -1 if there is none. */
function rowOf({ first, rows }: LabelIds, position: number): number {
  const row = position - 1 - first;
  return row >= 0 && row < rows ? row : -1;
}

function rankOf(id: number, { width, ids }: LabelIds, row: number, ranks: number): number {
  const at = row * width;
  for (let rank = 0; rank < ranks; rank++) if (ids[at + rank] === id) return rank;
  return -1;
}

function octaveOf(value: number): number {
  return 31 - Math.clz32(value);
}

/** At least 25 bits from a bit on; those beyond the end are 0. */
function bitsAt(bytes: Uint8Array, bit: number): number {
  const at = bit >>> 3;
  const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
  return word >>> (bit & 7);
}
