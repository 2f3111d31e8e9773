import { BitWriter } from '../../core/bit-stream.js';
import { SoftpackError } from '../../errors.js';
import { type SequenceHead, type SequenceText, writeHead } from '../sequence-block.js';
import { NO_LABELS } from '../text-code.js';
import type { HiddenEncoder } from './encoder.js';
import { type DecodedHidden, HIDDEN_GROUP, type HiddenCodec } from './hidden-codec.js';

/**
 * A sequence, which is one block of an archive:
 *
 *     text and mask as of other labels (sequence-block.ts), filled up to whole bytes
 *     [groups - 1] u32: first byte of every further group, counted from that of the first
 *     groups
 */

/** @param read gives hidden states [count, width] from label `start` on. */
export async function encodeHiddenSequence(
  text: SequenceText,
  rows: number,
  read: (start: number, count: number) => Promise<Float32Array>,
  encoder: HiddenEncoder,
): Promise<Uint8Array> {
  const groups: Uint8Array[] = [];
  for (let start = 0; start < rows; start += HIDDEN_GROUP) {
    const states = await read(start, Math.min(HIDDEN_GROUP, rows - start));
    groups.push(await encoder.encode(states));
  }
  const writer = new BitWriter();
  const { vocabulary } = encoder.codec.config;
  writeHead(writer, text, rows, { vocabulary }, NO_LABELS);
  const offsets = new BitWriter();
  let at = 0;
  for (const [i, { length }] of groups.entries()) {
    if (i > 0) offsets.write(at, 32);
    at += length;
  }
  return Buffer.concat([writer.bytes(), offsets.bytes(), ...groups]);
}

/** Labels from `start` on; `INVALID_ARGUMENT` naming `codes` for bytes that are none. */
export function decodeHiddenRows(
  bytes: Uint8Array,
  { rows, offsetsAt }: SequenceHead,
  start: number,
  count: number,
  codec: HiddenCodec,
): DecodedHidden {
  const { width } = codec.config;
  const groups = Math.ceil(rows / HIDDEN_GROUP);
  const table = Math.ceil(offsetsAt / 8);
  const first = table + 4 * Math.max(groups - 1, 0);
  if (bytes.length < first) throw invalid(`at least ${first} bytes`, bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const beginOf = (group: number) => {
    if (group === groups) return bytes.length;
    return first + (group === 0 ? 0 : view.getUint32(table + 4 * (group - 1), true));
  };
  const out = codec.emptyLabels(count);
  for (let label = start; label < start + count; ) {
    const group = Math.floor(label / HIDDEN_GROUP);
    const from = group * HIDDEN_GROUP;
    const own = Math.min(HIDDEN_GROUP, rows - from);
    const [begin, end] = [beginOf(group), beginOf(group + 1)];
    if (begin > end || end > bytes.length) throw invalid(`group ${group} in the block`, begin);
    const decoded = codec.decodeGroup(bytes.subarray(begin, end), own);
    const last = Math.min(from + own, start + count);
    const copy = <T extends Float32Array | Int32Array>(all: T, into: T, size: number) =>
      into.set(all.subarray((label - from) * size, (last - from) * size), (label - start) * size);
    copy(decoded.hidden, out.hidden, width);
    if (decoded.exact !== undefined && out.exact !== undefined) {
      const { width: most, ids, corrections } = decoded.exact;
      copy(ids, out.exact.ids, most);
      copy(corrections, out.exact.corrections, most);
    }
    label = last;
  }
  return out;
}

function invalid(expected: string, found: unknown): SoftpackError {
  const details = { field: 'codes', expected, found };
  return new SoftpackError('INVALID_ARGUMENT', 'not a sequence of hidden states', details);
}
