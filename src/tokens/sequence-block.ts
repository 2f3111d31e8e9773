import { BitReader, BitWriter } from '../core/bit-stream.js';
import { TOKEN_GROUP, tokenGroups } from '../kernels/tokens.js';
import type { ListedRows } from './listed-rows.js';
import { invalidCodes } from './sequence-error.js';
import { type TextFormat, textBits, writeText } from './sequence-text.js';
import type { LabelIds } from './text-code.js';
import type { LabelPlace, TokenCodec } from './token-codec.js';

/**
 * Bits of a sequence, which is one block of an archive:
 *
 *     tokens of the text + 1 (0: no text), position of the first label, labels: numbers of 7 bits a byte, the 8th tells
 *       that one more follows
 *     1 bit: whether there is a mask
 *     text: sequence-text.ts
 *     [labels] mask, if there is one: 1 to train on
 *     zeros up to a whole byte, if the text is coded
 *     [groups - 1] u32: where the labels of every further group of 64 begin, in bits after the first label
 *     labels
 */

/** Positions of one text: the longest contexts of today have 10 million. */
export const MAX_POSITIONS = 2 ** 24;

export interface SequenceText {
  readonly tokens?: Int32Array;
  readonly first: number;
  readonly mask?: Uint8Array;
}

/** What comes before the labels of a sequence, and where in its bits. */
export interface SequenceHead {
  /** Tokens of the text; undefined without one. */
  readonly length: number | undefined;
  readonly first: number;
  readonly rows: number;
  readonly masked: boolean;
  /** Of the ids, or of where groups of them end. */
  readonly textAt: number;
  readonly maskAt: number;
  readonly offsetsAt: number;
}

export async function encodeSequence(
  text: SequenceText,
  listed: ListedRows,
  codec: TokenCodec,
): Promise<Uint8Array> {
  // Behind a text as it is labels would begin within a byte: such archives are read, not written.
  if (codec.textFormat.code === undefined) throw new TypeError('a codec without a code of texts');
  const { bytes, begins } = await codec.encode(listed);
  // The text is told by what labels list, as readers will see it.
  const all = new Uint32Array(tokenGroups(listed.rows));
  all.set(begins, all.length - begins.length);
  const place = { position: 0, begins: all, skip: 0 };
  const labels = codec.labelIds(bytes, place, listed.rows, text.first);
  const writer = new BitWriter();
  writeHead(writer, text, listed.rows, codec.textFormat, labels);
  const offsets = new BitWriter();
  for (const begin of begins) offsets.write(begin, 32);
  return Buffer.concat([writer.bytes(), offsets.bytes(), bytes]);
}

/** What comes before the labels: the text, which of its positions have labels, and which of these count. */
export function writeHead(
  writer: BitWriter,
  { tokens, first, mask }: SequenceText,
  rows: number,
  format: TextFormat,
  labels: LabelIds,
): void {
  writeCount(writer, tokens === undefined ? 0 : tokens.length + 1);
  writeCount(writer, first);
  writeCount(writer, rows);
  writer.write(mask === undefined ? 0 : 1, 1);
  writeText(writer, tokens ?? new Int32Array(), format, labels);
  for (const one of mask ?? []) writer.write(one, 1);
}

/** Groups of labels behind the first one. */
function furtherGroups(rows: number): number {
  return Math.max(tokenGroups(rows) - 1, 0);
}

/** O(1) in the length of the sequence. */
export function readHead(bytes: Uint8Array, format: TextFormat): SequenceHead {
  const reader = new BitReader(bytes);
  const stored = readCount(reader);
  const first = readCount(reader);
  const rows = readCount(reader);
  const masked = reader.read(1) === 1;
  const length = stored === 0 ? undefined : stored - 1;
  if (length !== undefined && first + rows > length) {
    throw invalidCodes(`labels of ${length} positions`, `${first} to ${first + rows}`);
  }
  const textAt = reader.position;
  const maskAt = textAt + textBits(reader, length ?? 0, format);
  const end = maskAt + (masked ? rows : 0);
  const offsetsAt = format.code === undefined ? end : 8 * Math.ceil(end / 8);
  new BitReader(bytes, textAt).require(offsetsAt - textAt);
  return { length, first, rows, masked, textAt, maskAt, offsetsAt };
}

/** Which of some labels are to be trained on, 1 for those. */
export function readMask(
  bytes: Uint8Array,
  { masked, maskAt }: SequenceHead,
  start: number,
  count: number,
): Uint8Array {
  const mask = new Uint8Array(count).fill(1);
  if (masked) new BitReader(bytes, maskAt + start).readInto(1, mask);
  return mask;
}

/** Where `count` labels from `start` on are: O(1) for each group of them. */
export function locateLabels(
  bytes: Uint8Array,
  { rows, offsetsAt }: SequenceHead,
  start: number,
  count: number,
): LabelPlace {
  const position = offsetsAt + 32 * furtherGroups(rows);
  const first = Math.floor(start / TOKEN_GROUP);
  const skip = count === 0 ? 0 : start % TOKEN_GROUP;
  const begins = new Uint32Array(tokenGroups(skip + count));
  // The first group of the sequence has no offset: it begins at 0.
  const reader = new BitReader(bytes, offsetsAt + 32 * Math.max(first - 1, 0));
  for (let i = first === 0 ? 1 : 0; i < begins.length; i++) begins[i] = reader.read(32);
  return { position, begins, skip };
}

function writeCount(writer: BitWriter, value: number): void {
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) writer.write((left % 128) + 128, 8);
  writer.write(left, 8);
}

function readCount(reader: BitReader): number {
  let [value, unit] = [0, 1];
  for (;;) {
    const byte = reader.read(8);
    value += (byte & 127) * unit;
    if (value > MAX_POSITIONS) throw invalidCodes(`at most ${MAX_POSITIONS} positions`, value);
    if (byte < 128) return value;
    unit *= 128;
    if (unit > MAX_POSITIONS) throw invalidCodes('a number of positions', 'more bytes');
  }
}
