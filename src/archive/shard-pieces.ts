import type { Xxh64 } from '../container/checksum.js';
import { allocate } from '../core/allocate.js';
import { emptyBlocks } from '../core/blocks.js';
import type { ByteFile } from '../store/byte-store.js';
import type { Rectangle } from './grid.js';
import type { ArchiveIdentity } from './identity.js';
import type { Piece } from './log-records.js';
import type { ArchiveRow } from './pieces.js';
import {
  blocksPerRow,
  columnBytes,
  type OpenShard,
  openShard,
  readFrom,
  readOffsets,
} from './shard.js';

/** Labels as a writer takes them. */
export interface PieceWithColumns {
  readonly piece: Piece;
  readonly columns: ArchiveRow;
}

/** The labels of a whole shard, one epoch after the other, verified by their blocks. */
export async function* readShard(
  file: ByteFile,
  identity: ArchiveIdentity,
  archiveId: string,
  rectangle: Rectangle,
  xxh64: Xxh64,
): AsyncGenerator<PieceWithColumns> {
  const opened = await openShard(file, identity, archiveId, rectangle);
  const shard = await readOffsets(opened, identity, rectangle, xxh64);
  const [start, end] = rectangle.samples;
  for (let epoch = rectangle.epochs[0]; epoch < rectangle.epochs[1]; epoch++) {
    const row = epoch - rectangle.epochs[0];
    const columns: Record<string, Uint8Array> = {};
    for (const column of identity.columns) {
      const bytes = columnBytes(identity, column, end - start);
      if (bytes === undefined) {
        columns[column.name] = await readBlocks(shard, identity, rectangle, row, xxh64);
        continue;
      }
      const into = new Uint8Array(allocate(bytes, `${file.name}: ${column.name}`));
      const at = (shard.index.columns.get(column.name) ?? 0) + row * bytes;
      await readFrom(shard, xxh64, at, into);
      columns[column.name] = into;
    }
    yield { piece: { epoch, start, count: end - start }, columns };
  }
}

async function readBlocks(
  shard: OpenShard,
  identity: ArchiveIdentity,
  rectangle: Rectangle,
  row: number,
  xxh64: Xxh64,
): Promise<Uint8Array> {
  const blocks = blocksPerRow(identity, rectangle);
  const offsets = (shard.offsets ?? new BigUint64Array(1)).subarray(
    row * blocks,
    (row + 1) * blocks + 1,
  );
  const lengths = Array.from(offsets.subarray(1), (end, i) => Number(end - offsets[i]));
  const codes = emptyBlocks(lengths, `${shard.file.name}: codes`);
  const bytes = lengths.reduce((sum, length) => sum + length, 0);
  const at = (shard.index.columns.get('codes') ?? 0) + Number(offsets[0]);
  await readFrom(shard, xxh64, at, codes.subarray(codes.length - bytes));
  return codes;
}
