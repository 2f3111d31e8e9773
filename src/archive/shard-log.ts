import { constants, type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Xxh64 } from '../container/checksum.js';
import { NO_FOLLOW, writeFully } from '../container/durable.js';
import { SoftpackError } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { asByteFile, openFileSize } from '../store/local.js';
import { syncFile } from '../store/sync-file.js';
import { labelCount } from './grid.js';
import {
  encodeRecord,
  endOf,
  HEAD_BYTES,
  headOf,
  type LogPlan,
  locatePiece,
  logName,
  overlaps,
  type Piece,
  partsOf,
  readPieces,
  type StoredPiece,
} from './log-records.js';
import type { PieceLog } from './seal.js';

/** The log of an unfinished shard, as it is written. */
export class ShardLog implements PieceLog<StoredPiece> {
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
    const handle = await this.#file();
    const size = await openFileSize(this.#path, handle);
    const pieces = readPieces(asByteFile(this.#path, handle, size), this.plan, this.#xxh64);
    let next = await pieces.next();
    for (; !next.done; next = await pieces.next()) this.#take(next.value.piece, next.value.end);
    const { at } = next.value;
    await onFile(this.#path, async () => {
      if (at < size) await handle.truncate(at);
      if (at < HEAD_BYTES) await writeFully(handle, headOf(this.plan), 0);
    });
  }

  /** Labels that are in the log. */
  get labels(): number {
    return this.#labels;
  }

  get isComplete(): boolean {
    return this.#labels === labelCount(this.plan.rectangle);
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
    if (overlaps(this.pieces(piece.epoch), piece)) throw otherLabels(piece);
    const codesBytes = columns[0].length;
    const stored = locatePiece(this.plan, piece, this.#end, { codesBytes, hashes });
    const record = encodeRecord(stored, this.#xxh64);
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
    const file = asByteFile(this.#path, await this.#file(), this.#end);
    for await (const part of partsOf(file, stored)) {
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

  #hashOfBytes(bytes: Uint8Array): bigint {
    const stream = this.#xxh64.stream();
    stream.update(bytes);
    return stream.digest();
  }

  async #read(at: number, into: Uint8Array): Promise<void> {
    return asByteFile(this.#path, await this.#file(), at + into.length).read(at, into);
  }

  async sync(): Promise<void> {
    const handle = this.#handle;
    if (handle === undefined || !this.#unsynced) return;
    await onFile(this.#path, () => syncFile(handle, 'data'));
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
