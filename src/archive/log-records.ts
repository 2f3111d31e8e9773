import { BLOCK_BYTES, type Xxh64 } from '../container/checksum.js';
import type { ByteFile } from '../store/byte-store.js';
import type { Rectangle } from './grid.js';
import type { ArchiveIdentity } from './identity.js';
import { columnBytes } from './shard.js';

/**
 * The pieces of an unfinished shard, as they came. A file of this writer's own, `<shard>.partial`:
 *
 *   head     8 bytes of magic, 32 of the archive's id, u64 number of the shard
 *   records  u32 magic, u32 epoch, u32 first sample, u32 count, u64 bytes of codes, u64 xxh64 of each column,
 *            u64 xxh64 of the record so far; then the columns' bytes, one after the other
 *
 * all little-endian. Records are only appended: what a killed writer leaves is valid up to its last record.
 */

const HEAD = Buffer.from('SPSHARD\x02', 'latin1');
export const HEAD_BYTES = 48;
const RECORD_MAGIC = 0x43455053;

/** Labels of some consecutive samples of one epoch. */
export interface Piece {
  readonly epoch: number;
  readonly start: number;
  readonly count: number;
}

/** One column of a piece in the log. */
export interface StoredColumn {
  readonly at: number;
  readonly bytes: number;
  /** xxh64, computed from memory before the write. */
  readonly hash: bigint;
}

export interface StoredPiece extends Piece {
  /** In the order of the archive's columns. */
  readonly columns: readonly StoredColumn[];
}

export interface ShardPlan {
  readonly identity: ArchiveIdentity;
  readonly archiveId: string;
  readonly rectangle: Rectangle;
}

/** What a log belongs to. */
export interface LogPlan extends ShardPlan {
  readonly shard: number;
}

/** Name of a shard while it is written: the same in every run, so that the next run can resume. */
export function logName({ file }: Rectangle): string {
  return `${file}.partial`;
}

/** Where a piece's record, which begins at `begin`, has its columns. */
export function locatePiece(
  { identity }: LogPlan,
  piece: Piece,
  begin: number,
  { codesBytes, hashes }: { readonly codesBytes: number; readonly hashes: readonly bigint[] },
): StoredPiece {
  let at = begin + recordBytes(identity.columns.length);
  const columns = identity.columns.map((column, i) => {
    const bytes = columnBytes(identity, column, piece.count) ?? codesBytes;
    const stored = { at, bytes, hash: hashes[i] };
    at += bytes;
    return stored;
  });
  return { ...piece, columns };
}

export function encodeRecord({ epoch, start, count, columns }: StoredPiece, xxh64: Xxh64): Buffer {
  const record = Buffer.alloc(recordBytes(columns.length));
  record.writeUInt32LE(RECORD_MAGIC, 0);
  record.writeUInt32LE(epoch, 4);
  record.writeUInt32LE(start, 8);
  record.writeUInt32LE(count, 12);
  record.writeBigUInt64LE(BigInt(columns[0].bytes), 16);
  for (const [i, { hash }] of columns.entries()) record.writeBigUInt64LE(hash, 24 + 8 * i);
  record.writeBigUInt64LE(xxh64.hash(record.subarray(0, -8)), record.length - 8);
  return record;
}

/** A valid piece, and where its record begins and its columns end. */
export interface FoundPiece {
  readonly piece: StoredPiece;
  readonly end: number;
}

/** The first end of a log that is not valid. */
export interface LogEnd {
  readonly at: number;
  /** Whether the file ends within the next record, as after a kill; otherwise its bytes are damaged. */
  readonly torn: boolean;
}

/** The valid records of a log, in order; it returns where they end. */
export async function* readPieces(
  file: ByteFile,
  plan: LogPlan,
  xxh64: Xxh64,
): AsyncGenerator<FoundPiece, LogEnd> {
  const head = new Uint8Array(Math.min(file.size, HEAD_BYTES));
  await file.read(0, head);
  if (Buffer.compare(head, headOf(plan)) !== 0) return { at: 0, torn: file.size < HEAD_BYTES };
  const found: StoredPiece[] = [];
  let at = HEAD_BYTES;
  while (at < file.size) {
    const next = await readRecord(file, plan, at, xxh64);
    if ('torn' in next) return next;
    if (!isWithin(plan, next.piece) || overlaps(found, next.piece)) return { at, torn: false };
    for (const column of next.piece.columns) {
      if ((await hashColumn(file, column, xxh64)) !== column.hash) return { at, torn: false };
    }
    found.push(next.piece);
    yield next;
    at = next.end;
  }
  return { at, torn: false };
}

async function readRecord(
  file: ByteFile,
  plan: LogPlan,
  at: number,
  xxh64: Xxh64,
): Promise<FoundPiece | LogEnd> {
  const { columns } = plan.identity;
  const length = recordBytes(columns.length);
  if (at + length > file.size) return { at, torn: true };
  const record = Buffer.alloc(length);
  await file.read(at, record);
  if (xxh64.hash(record.subarray(0, -8)) !== record.readBigUInt64LE(length - 8)) {
    return { at, torn: false };
  }
  const place = {
    epoch: record.readUInt32LE(4),
    start: record.readUInt32LE(8),
    count: record.readUInt32LE(12),
  };
  const hashes = columns.map((_, i) => record.readBigUInt64LE(24 + 8 * i));
  const codesBytes = Number(record.readBigUInt64LE(16));
  const piece = locatePiece(plan, place, at, { codesBytes, hashes });
  const end = endOf(piece, at + length);
  return end > file.size ? { at, torn: true } : { piece, end };
}

function isWithin({ rectangle }: LogPlan, { epoch, start, count }: Piece): boolean {
  const { epochs, samples } = rectangle;
  const within = epoch >= epochs[0] && epoch < epochs[1] && start >= samples[0];
  return within && count > 0 && start + count <= samples[1];
}

/** Whether some of the piece's labels are in others. */
export function overlaps(others: readonly Piece[], { epoch, start, count }: Piece): boolean {
  return others.some(
    (other) =>
      other.epoch === epoch && other.start < start + count && start < other.start + other.count,
  );
}

/** A column in parts of at most a block, each overwritten by the next. */
export async function* partsOf(
  file: ByteFile,
  { at, bytes }: StoredColumn,
): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(BLOCK_BYTES, bytes));
  for (let done = 0; done < bytes; done += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, bytes - done));
    await file.read(at + done, part);
    yield part;
  }
}

async function hashColumn(file: ByteFile, column: StoredColumn, xxh64: Xxh64): Promise<bigint> {
  const stream = xxh64.stream();
  for await (const part of partsOf(file, column)) stream.update(part);
  return stream.digest();
}

export function endOf({ columns }: StoredPiece, begin: number): number {
  return columns.reduce((end, { at, bytes }) => Math.max(end, at + bytes), begin);
}

function recordBytes(columns: number): number {
  return 32 + 8 * columns;
}

export function headOf({ archiveId, shard }: LogPlan): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  HEAD.copy(head);
  head.write(archiveId, 8, 'hex');
  head.writeBigUInt64LE(BigInt(shard), 40);
  return head;
}
