import { BitReader, BitWriter } from '../core/bit-stream.js';
import { bitsFor } from '../core/bits.js';
import { invalidCodes } from './sequence-error.js';
import type { LabelIds, TextCode } from './text-code.js';

/**
 * The text of a sequence, without a code
 *
 *     [tokens] ids, bitsFor(vocabulary) each
 *
 * and with one
 *
 *     [ceil(tokens / 256)] u32: where each group of 256 ids ends, in bits after these numbers
 *     [tokens] ids by the code
 */
export interface TextFormat {
  readonly vocabulary: number;
  readonly code?: TextCode;
}

/** Where the text of a sequence is, and which of its positions have labels. */
interface TextPlace {
  readonly length: number | undefined;
  readonly first: number;
  readonly rows: number;
  readonly textAt: number;
  /** Where the text ends. */
  readonly maskAt: number;
}

/** What labels from one on list; those before and behind the ones asked for may be missing. */
export type LabelIdsOf = (start: number, count: number) => LabelIds;

/** Ids between two offsets: those before one in its group are decoded to find it. */
const TEXT_GROUP = 256;

function textGroups(tokens: number): number {
  return Math.ceil(tokens / TEXT_GROUP);
}

export function writeText(
  writer: BitWriter,
  tokens: Int32Array,
  { vocabulary, code }: TextFormat,
  labels: LabelIds,
): void {
  if (code === undefined) {
    const bits = bitsFor(vocabulary);
    for (const id of tokens) writer.write(id, bits);
    return;
  }
  const codes = new BitWriter();
  for (let start = 0; start < tokens.length; start += TEXT_GROUP) {
    const end = Math.min(start + TEXT_GROUP, tokens.length);
    code.encode(codes, tokens, start, end, labels);
    writer.write(codes.position, 32);
  }
  writer.append(codes);
}

/** Bits of a text, at whose beginning the reader is; O(1). */
export function textBits(reader: BitReader, tokens: number, format: TextFormat): number {
  if (format.code === undefined) return tokens * bitsFor(format.vocabulary);
  const groups = textGroups(tokens);
  if (groups === 0) return 0;
  reader.position += 32 * (groups - 1);
  return 32 * groups + reader.read(32);
}

/** Ids of a text from `start` on. */
export function readText(
  bytes: Uint8Array,
  head: TextPlace,
  { vocabulary, code }: TextFormat,
  { start, count }: { readonly start: number; readonly count: number },
  labelIdsOf: LabelIdsOf,
): Int32Array {
  if (code !== undefined) return decodeText(bytes, head, code, start, start + count, labelIdsOf);
  const bits = bitsFor(vocabulary);
  const reader = new BitReader(bytes, head.textAt + start * bits);
  const ids = new Int32Array(count);
  reader.readInto(bits, ids);
  const strange = ids.find((id) => id >= vocabulary);
  if (strange !== undefined) throw invalidCodes(`ids below ${vocabulary}`, strange);
  return ids;
}

function decodeText(
  bytes: Uint8Array,
  { length = 0, first, rows, textAt, maskAt }: TextPlace,
  code: TextCode,
  start: number,
  end: number,
  labelIdsOf: LabelIdsOf,
): Int32Array {
  const group = Math.floor(start / TEXT_GROUP);
  const from = group * TEXT_GROUP;
  const [a, b] = [from - 1 - first, end - 1 - first].map((row) => Math.min(Math.max(row, 0), rows));
  const labels = labelIdsOf(a, b - a);
  const out = new Int32Array(end - from);
  const begin = textAt + 32 * textGroups(length);
  const ends = new BitReader(bytes, textAt + 32 * Math.max(group - 1, 0));
  let at = begin + (group === 0 ? 0 : ends.read(32));
  for (let position = from; position < end; position += TEXT_GROUP) {
    const own = out.subarray(position - from, position - from + TEXT_GROUP);
    const last = begin + ends.read(32);
    if (at > last || last > maskAt) throw invalidCodes(`a group from bit ${at} to ${maskAt}`, last);
    const found = code.decode(bytes, at, own, position, labels);
    const whole = own.length === Math.min(TEXT_GROUP, length - position);
    if (whole ? found !== last : found > last) {
      throw invalidCodes(`a text up to bit ${last}`, found);
    }
    at = last;
  }
  return out.subarray(start - from);
}
