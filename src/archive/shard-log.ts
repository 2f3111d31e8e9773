import { constants, type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOCK_BYTES, type Xxh64 } from '../container/checksum.js';
import { NO_FOLLOW, writeFully } from '../container/durable.js';
import { SoftpackError } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { asByteFile, openFileSize } from '../store/local.js';
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
const HEAD_BYTES = 48;
const RECORD_MAGIC = 0x43455053;

/** Labels of some consecutive samples of one epoch. */
export interface Piece {
  readonly epoch: number;
  readonly start: number;
  readonly count: number;
}

/** One column of a piece in the log. */
interface StoredColumn {
  readonly at: number;
  readonly bytes: number;
  /** xxh64, computed from memory before the write. */
  readonly hash: bigint;
}

export interface StoredPiece extends Piece {
  /** In the order of the archive's columns. */
  readonly columns: readonly StoredColumn[];
}

/** What a log belongs to. */
export interface LogPlan {
  readonly identity: ArchiveIdentity;
  readonly archiveId: string;
  readonly shard: number;
  readonly rectangle: Rectangle;
}

/** Name of a shard while it is written: the same in every run, so that the next run can resume. */
export function logName({ file }: Rectangle): string {
  return `${file}.partial`;
}

export class ShardLog {
  readonly plan: LogPlan;
  readonly #path: string;
  #handle: FileHandle | undefined;
  #unsynced = false;
  readonly #xxh64: Xxh64;
  /** By epoch, in order of their first samples. */
  readonly #pieces = new Map<number, StoredPiece[]>();
  #labels = 0;
  #end = HEAD_BYTES;

  private constructor(directory: string, plan: LogPlan, xxh64: Xxh64) {
    this.plan = plan;
    this.#path = join(directory, logName(plan.rectangle));
    this.#xxh64 = xxh64;
  }

  /** Opens the log with the pieces that are valid in it; one of another shard is started from scratch. */
  static async open(directory: string, plan: LogPlan, xxh64: Xxh64): Promise<ShardLog> {
    const log = new ShardLog(directory, plan, xxh64);
    try {
      await log.#recover();
      return log;
    } catch (error) {
      await log.#handle?.close();
      throw error;
    }
  }

  /** The file, opened if it is not. */
  async #file(): Promise<FileHandle> {
    const flags = constants.O_RDWR | constants.O_CREAT | NO_FOLLOW;
    this.#handle ??= await onFile(this.#path, () => open(this.#path, flags));
    return this.#handle;
  }

  async #recover(): Promise<void> {
    const file = await this.#file();
    const size = await openFileSize(this.#path, file);
    const head = headOf(this.plan);
    const found = new Uint8Array(Math.min(size, HEAD_BYTES));
    await this.#read(0, found);
    if (Buffer.compare(found, head) !== 0) {
      await onFile(this.#path, async () => {
        await file.truncate(0);
        await writeFully(file, head, 0);
      });
      return;
    }
    while (await this.#recoverPiece(size));
    if (this.#end < size) await onFile(this.#path, () => file.truncate(this.#end));
  }

  /** Takes the next record if all of it is valid. */
  async #recoverPiece(size: number): Promise<boolean> {
    const { columns } = this.plan.identity;
    const length = recordBytes(columns.length);
    if (this.#end + length > size) return false;
    const record = Buffer.alloc(length);
    await this.#read(this.#end, record);
    if (this.#xxh64.hash(record.subarray(0, -8)) !== record.readBigUInt64LE(length - 8))
      return false;
    const piece = {
      epoch: record.readUInt32LE(4),
      start: record.readUInt32LE(8),
      count: record.readUInt32LE(12),
    };
    const hashes = columns.map((_, i) => record.readBigUInt64LE(24 + 8 * i));
    const stored = this.#locate(piece, Number(record.readBigUInt64LE(16)), hashes);
    const end = endOf(stored, this.#end + length);
    if (end > size || !this.#isWithin(piece) || this.#overlaps(piece)) return false;
    for (const column of stored.columns) {
      if ((await this.#hashOf(column)) !== column.hash) return false;
    }
    this.#take(stored, end);
    return true;
  }

  #locate(piece: Piece, codesBytes: number, hashes: readonly bigint[]): StoredPiece {
    const { identity } = this.plan;
    let at = this.#end + recordBytes(identity.columns.length);
    const columns = identity.columns.map((column, i) => {
      const bytes = columnBytes(identity, column, piece.count) ?? codesBytes;
      const stored = { at, bytes, hash: hashes[i] };
      at += bytes;
      return stored;
    });
    return { ...piece, columns };
  }

  /** Labels that are in the log. */
  get labels(): number {
    return this.#labels;
  }

  get isComplete(): boolean {
    const { epochs, samples } = this.plan.rectangle;
    return this.#labels === (epochs[1] - epochs[0]) * (samples[1] - samples[0]);
  }

  /** Pieces of an epoch, in order of samples. */
  pieces(epoch: number): readonly StoredPiece[] {
    return this.#pieces.get(epoch) ?? [];
  }

  /** The first sample from `sample` on, within the rectangle, whose label of this epoch is missing. */
  firstMissing(epoch: number, sample: number): number {
    let next = sample;
    for (const { start, count } of this.pieces(epoch)) {
      if (start > next) break;
      next = Math.max(next, start + count);
    }
    return next;
  }

  #isWithin({ epoch, start, count }: Piece): boolean {
    const { epochs, samples } = this.plan.rectangle;
    const within = epoch >= epochs[0] && epoch < epochs[1] && start >= samples[0];
    return within && count > 0 && start + count <= samples[1];
  }

  #overlaps({ epoch, start, count }: Piece): boolean {
    return this.pieces(epoch).some(
      (other) => other.start < start + count && start < other.start + other.count,
    );
  }

  /**
   * Appends a piece. One that is there already must be the same: `INVALID_ARGUMENT` otherwise.
   *
   * @returns Bytes that were written.
   */
  async add(piece: Piece, columns: readonly Uint8Array[]): Promise<number> {
    const hashes = columns.map((bytes) => this.#hashOfBytes(bytes));
    const known = this.pieces(piece.epoch).find(({ start }) => start === piece.start);
    if (known !== undefined && known.count === piece.count) {
      if (known.columns.every(({ hash }, i) => hash === hashes[i])) return 0;
      throw otherLabels(piece);
    }
    if (this.#overlaps(piece)) throw otherLabels(piece);
    const stored = this.#locate(piece, columns[0].length, hashes);
    const record = this.#record(stored);
    const end = endOf(stored, this.#end + record.length);
    const file = await this.#file();
    this.#unsynced = true;
    await onFile(this.#path, async () => {
      await writeFully(file, record, this.#end);
      for (const [i, { at }] of stored.columns.entries()) await writeFully(file, columns[i], at);
    });
    const written = end - this.#end;
    this.#take(stored, end);
    return written;
  }

  #record({ epoch, start, count, columns }: StoredPiece): Buffer {
    const record = Buffer.alloc(recordBytes(columns.length));
    record.writeUInt32LE(RECORD_MAGIC, 0);
    record.writeUInt32LE(epoch, 4);
    record.writeUInt32LE(start, 8);
    record.writeUInt32LE(count, 12);
    record.writeBigUInt64LE(BigInt(columns[0].bytes), 16);
    for (const [i, { hash }] of columns.entries()) record.writeBigUInt64LE(hash, 24 + 8 * i);
    record.writeBigUInt64LE(this.#xxh64.hash(record.subarray(0, -8)), record.length - 8);
    return record;
  }

  #take(stored: StoredPiece, end: number): void {
    const pieces = this.#pieces.get(stored.epoch) ?? [];
    const after = pieces.findIndex(({ start }) => start > stored.start);
    pieces.splice(after < 0 ? pieces.length : after, 0, stored);
    this.#pieces.set(stored.epoch, pieces);
    this.#labels += stored.count;
    this.#end = end;
  }

  /**
   * A column of a piece in parts of at most a block, each overwritten by the next. After the last one, `CORRUPT_DATA` if
   * the bytes are not those that were written.
   */
  async *read(piece: StoredPiece, column: number): AsyncGenerator<Uint8Array> {
    const stored = piece.columns[column];
    const stream = this.#xxh64.stream();
    for await (const part of this.#parts(stored)) {
      stream.update(part);
      yield part;
    }
    const found = stream.digest();
    if (found === stored.hash) return;
    const message = 'labels changed after they were written; check the disk';
    throw new SoftpackError('CORRUPT_DATA', message, {
      field: `${this.#path}: epoch ${piece.epoch}, samples from ${piece.start}`,
      expected: stored.hash.toString(16),
      found: found.toString(16),
    });
  }

  /** The first bytes of a column, not verified. */
  async readHead(piece: StoredPiece, column: number, bytes: number): Promise<DataView> {
    const head = new Uint8Array(bytes);
    await this.#read(piece.columns[column].at, head);
    return new DataView(head.buffer);
  }

  async *#parts({ at, bytes }: StoredColumn): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(Math.min(BLOCK_BYTES, bytes));
    for (let done = 0; done < bytes; done += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, bytes - done));
      await this.#read(at + done, part);
      yield part;
    }
  }

  #hashOfBytes(bytes: Uint8Array): bigint {
    const stream = this.#xxh64.stream();
    stream.update(bytes);
    return stream.digest();
  }

  async #hashOf(column: StoredColumn): Promise<bigint> {
    const stream = this.#xxh64.stream();
    for await (const part of this.#parts(column)) stream.update(part);
    return stream.digest();
  }

  async #read(at: number, into: Uint8Array): Promise<void> {
    return asByteFile(this.#path, await this.#file(), at + into.length).read(at, into);
  }

  async sync(): Promise<void> {
    const handle = this.#handle;
    if (handle === undefined || !this.#unsynced) return;
    await onFile(this.#path, () => handle.datasync());
    this.#unsynced = false;
  }

  /** Closes the file until the log is used again. */
  async park(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle === undefined) return;
    await onFile(this.#path, () => handle.close());
  }
}

function otherLabels({ epoch, start, count }: Piece): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'other labels of these samples are there already', {
    field: `epoch ${epoch}, samples ${start} to ${start + count - 1}`,
    expected: 'the same labels, in the same pieces',
  });
}

function endOf({ columns }: StoredPiece, begin: number): number {
  return columns.reduce((end, { at, bytes }) => Math.max(end, at + bytes), begin);
}

function recordBytes(columns: number): number {
  return 32 + 8 * columns;
}

function headOf({ archiveId, shard }: LogPlan): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  HEAD.copy(head);
  head.write(archiveId, 8, 'hex');
  head.writeBigUInt64LE(BigInt(shard), 40);
  return head;
}
