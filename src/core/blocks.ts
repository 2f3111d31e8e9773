import { SoftpackError } from '../errors.js';
import { allocateShared } from './allocate.js';

/** Offsets are 32-bit. */
const MAX_ROW_BYTES = 2 ** 32 - 1;

/**
 * A row of the `blocks` layout in memory: u32 number of blocks n, n + 1 u32 offsets, both little-endian, then the blocks
 * one after the other. Offset i is where block i begins, counted from the end of the offsets; the last is their end.
 */

/** The blocks, joined. */
export function joinBlocks(blocks: readonly Uint8Array[]): Uint8Array<SharedArrayBuffer> {
  const row = emptyBlocks(blocks.map(({ length }) => length));
  let at = blocksHeadBytes(blocks.length);
  for (const block of blocks) {
    row.set(block, at);
    at += block.length;
  }
  return row;
}

/** A row of blocks of these lengths, to be filled. `field` names it where it is too large. */
export function emptyBlocks(
  lengths: readonly number[],
  field = 'blocks',
): Uint8Array<SharedArrayBuffer> {
  const bytes = lengths.reduce((sum, length) => sum + length, 0);
  const head = blocksHeadBytes(lengths.length);
  const row = new Uint8Array(allocateShared(head + bytes, field, MAX_ROW_BYTES));
  const view = new DataView(row.buffer);
  view.setUint32(0, lengths.length, true);
  let end = 0;
  for (const [i, length] of lengths.entries()) {
    end += length;
    view.setUint32(4 * (i + 2), end, true);
  }
  return row;
}

/** Bytes before the first block. */
export function blocksHeadBytes(count: number): number {
  return 4 * (count + 2);
}

/** Views of the blocks; `INVALID_ARGUMENT` for bytes that are no such row. */
export function splitBlocks(row: Uint8Array, field = 'codes'): readonly Uint8Array[] {
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const count = row.length >= 8 ? view.getUint32(0, true) : 0;
  const head = blocksHeadBytes(count);
  const offset = (i: number) => view.getUint32(4 * (i + 1), true);
  const ends =
    row.length >= head && row.length >= 8 && offset(0) === 0 && head + offset(count) === row.length;
  for (let i = 0; ends && i < count; i++) {
    if (offset(i) > offset(i + 1)) throw notBlocks(field, `offset ${offset(i + 1)} of block ${i}`);
  }
  if (!ends) throw notBlocks(field, `${row.length} bytes`);
  return Array.from({ length: count }, (_, i) =>
    row.subarray(head + offset(i), head + offset(i + 1)),
  );
}

/** Gives single blocks of a row that {@link emptyBlocks} or {@link joinBlocks} made; undefined for others. */
export function blocksByNumber(row: Uint8Array): (block: number) => Uint8Array | undefined {
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const count = view.getUint32(0, true);
  const head = blocksHeadBytes(count);
  return (block) => {
    if (!(block >= 0 && block < count)) return undefined;
    const [begin, end] = [
      view.getUint32(4 * (block + 1), true),
      view.getUint32(4 * (block + 2), true),
    ];
    return row.subarray(head + begin, head + end);
  };
}

function notBlocks(field: string, found: string): SoftpackError {
  const expected = 'blocks with their ascending offsets';
  return new SoftpackError('INVALID_ARGUMENT', 'not a row of blocks', { field, expected, found });
}
