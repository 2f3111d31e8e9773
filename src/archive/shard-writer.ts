import { createHash } from 'node:crypto';
import { constants, type FileHandle, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOCK_BYTES, readBlocks, sha256, type Xxh64 } from '../container/checksum.js';
import { NO_FOLLOW, publishFile, syncDirectory, writeFully } from '../container/durable.js';
import { type ShardIndex, verifyShard } from '../container/shard-file.js';
import { errorCode, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { onFile } from '../store/file-error.js';
import { asByteFile, openFileSize, openLocalFile } from '../store/local.js';
import type { ArchiveIdentity } from './identity.js';
import type { ShardRecord } from './manifest.js';
import { openShard, planShard, type Rectangle } from './shard.js';

/** One row of every column, by name. */
export type ArchiveRow = Readonly<Record<string, Uint8Array>>;

export interface ShardPlan {
  readonly identity: ArchiveIdentity;
  readonly archiveId: string;
  readonly rectangle: Rectangle;
  readonly header: Uint8Array;
  readonly index: ShardIndex;
}

export function makeShardPlan(
  identity: ArchiveIdentity,
  archiveId: string,
  rectangle: Rectangle,
): ShardPlan {
  return { identity, archiveId, rectangle, ...planShard(identity, archiveId, rectangle) };
}

/** Hash of a row as recorded in the journal: all columns, in order. */
export function rowHash(xxh64: Xxh64, identity: ArchiveIdentity, row: ArchiveRow): string {
  const stream = xxh64.stream();
  for (const { name } of identity.columns) stream.update(row[name]);
  return hex(stream.digest());
}

function hex(hash: bigint): string {
  return hash.toString(16).padStart(16, '0');
}

/** Writes rows into a file under a temporary name, of its final size from the start. */
export class ShardWriter {
  readonly plan: ShardPlan;
  readonly #directory: string;
  readonly #handle: FileHandle;
  readonly #xxh64: Xxh64;

  private constructor(directory: string, plan: ShardPlan, handle: FileHandle, xxh64: Xxh64) {
    this.plan = plan;
    this.#directory = directory;
    this.#handle = handle;
    this.#xxh64 = xxh64;
  }

  /** Opens the partial file; one of another shard is started from scratch. */
  static async open(directory: string, plan: ShardPlan, xxh64: Xxh64): Promise<ShardWriter> {
    const path = partialPath(directory, plan);
    // Not truncated: rows that are in it already may count.
    const flags = constants.O_RDWR | constants.O_CREAT | NO_FOLLOW;
    const handle = await onFile(path, () => open(path, flags));
    const writer = new ShardWriter(directory, plan, handle, xxh64);
    try {
      if (!(await writer.#hasHeader())) {
        await onFile(path, async () => {
          await handle.truncate(0);
          await handle.truncate(plan.index.fileBytes);
          await writeFully(handle, plan.header, 0);
        });
      }
      return writer;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #hasHeader(): Promise<boolean> {
    const { header, index } = this.plan;
    const path = partialPath(this.#directory, this.plan);
    if ((await openFileSize(path, this.#handle)) !== index.fileBytes) return false;
    const found = new Uint8Array(header.length);
    await this.#file().read(0, found);
    return Buffer.compare(found, header) === 0;
  }

  async writeRow(epoch: number, row: ArchiveRow): Promise<void> {
    for (const { name } of this.plan.identity.columns) {
      const at = this.#rowOffset(epoch, name);
      await this.#onFile(() => writeFully(this.#handle, row[name], at));
    }
  }

  /** Hash of a row as stored in the file. */
  async storedRowHash(epoch: number): Promise<string> {
    const stream = this.#xxh64.stream();
    for (const { name, rowBytes } of this.plan.identity.columns) {
      const begin = this.#rowOffset(epoch, name);
      for await (const piece of readBlocks(this.#file(), begin, begin + rowBytes)) {
        stream.update(piece);
      }
    }
    return hex(stream.digest());
  }

  #rowOffset(epoch: number, column: string): number {
    const { identity, index, rectangle } = this.plan;
    const begin = index.columns.get(column);
    const rowBytes = identity.columns.find(({ name }) => name === column)?.rowBytes;
    if (begin === undefined || rowBytes === undefined) {
      const details = { field: 'column', expected: [...index.columns.keys()], found: column };
      throw new SoftpackError('INVALID_ARGUMENT', 'no such column', details);
    }
    return begin + (epoch - rectangle.epochs[0]) * rowBytes;
  }

  sync(): Promise<void> {
    return this.#onFile(() => this.#handle.datasync());
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  /**
   * Adds the checksums, puts the file in place and closes it. If a valid shard of this rectangle is there already, that
   * one stays: the first wins.
   *
   * @param hashes the hash of each row as it was in memory, by epoch; `CORRUPT_DATA` if the file has another row.
   */
  async finish(hashes: ReadonlyMap<number, string>): Promise<ShardRecord> {
    const ours = await this.#seal(hashes).finally(() => this.#handle.close());
    const record = await this.#publish(ours);
    await syncDirectory(this.#directory);
    return record;
  }

  /**
   * Adds the checksums of what is in the file, in one pass that also compares every row with its hash from memory: a bit
   * that changed on the way to the disk is found here, not given a valid checksum.
   */
  async #seal(hashes: ReadonlyMap<number, string>): Promise<ShardRecord> {
    const { header, index } = this.plan;
    const table = new Uint8Array(8 * index.blocks);
    const view = new DataView(table.buffer);
    const hash = createHash('sha256').update(header);
    const rows = new RowHashes(this.plan, this.#xxh64);
    let i = 0;
    for await (const block of readBlocks(this.#file(), index.dataOffset, index.tableOffset)) {
      rows.update(index.dataOffset + i * BLOCK_BYTES, block);
      view.setBigUint64(8 * i++, this.#xxh64.hash(block), true);
      hash.update(block);
    }
    rows.require(this.#file().name, hashes);
    await this.#onFile(() => writeFully(this.#handle, table, index.tableOffset));
    await this.#onFile(() => this.#handle.sync());
    return shardRecord(this.plan, {
      sha256: hash.update(table).digest('hex'),
      indexSha256: sha256(header, table),
    });
  }

  async #publish(ours: ShardRecord): Promise<ShardRecord> {
    const partial = partialPath(this.#directory, this.plan);
    const final = join(this.#directory, this.plan.rectangle.file);
    if (await publishFile(partial, final)) return ours;
    const first = await finishedShard(this.#directory, this.plan, this.#xxh64);
    if (first === undefined) {
      await onFile(final, () => rename(partial, final));
      return ours;
    }
    await onFile(partial, () => rm(partial));
    return first;
  }

  #onFile<T>(work: () => Promise<T>): Promise<T> {
    return onFile(partialPath(this.#directory, this.plan), work);
  }

  #file(): ByteFile {
    const path = partialPath(this.#directory, this.plan);
    return asByteFile(path, this.#handle, this.plan.index.fileBytes);
  }
}

/** Hashes of all rows of a shard while its data pass by in the order of the file: column by column, row by row. */
class RowHashes {
  readonly #parts: readonly {
    readonly begin: number;
    readonly end: number;
    readonly row: number;
  }[];
  readonly #streams: readonly ReturnType<Xxh64['stream']>[];
  readonly #first: number;
  #next = 0;

  constructor({ identity, index, rectangle }: ShardPlan, xxh64: Xxh64) {
    const [first, end] = rectangle.epochs;
    this.#first = first;
    this.#streams = Array.from({ length: end - first }, () => xxh64.stream());
    this.#parts = identity.columns
      .flatMap(({ name, rowBytes }) => {
        const begin = index.columns.get(name) ?? 0;
        return this.#streams.map((_, row) => ({
          begin: begin + row * rowBytes,
          end: begin + (row + 1) * rowBytes,
          row,
        }));
      })
      .filter(({ begin, end: after }) => begin < after);
  }

  /** Pieces come in order. */
  update(at: number, piece: Uint8Array): void {
    const after = at + piece.length;
    while (this.#next < this.#parts.length) {
      const { begin, end, row } = this.#parts[this.#next];
      if (begin >= after) return;
      this.#streams[row].update(
        piece.subarray(Math.max(begin, at) - at, Math.min(end, after) - at),
      );
      if (end > after) return;
      this.#next++;
    }
  }

  require(file: string, hashes: ReadonlyMap<number, string>): void {
    for (const [row, stream] of this.#streams.entries()) {
      const epoch = this.#first + row;
      const expected = hashes.get(epoch);
      const found = hex(stream.digest());
      if (found === expected) continue;
      throw new SoftpackError(
        'CORRUPT_DATA',
        'a row changed after it was written; check the disk',
        {
          field: `${file}: epoch ${epoch}`,
          expected,
          found,
        },
      );
    }
  }
}

/** Name of a shard while its rows are written: the same in every run, so that the next run can resume. */
export function partialName(file: string): string {
  return `${file}.partial`;
}

function partialPath(directory: string, plan: ShardPlan): string {
  return join(directory, partialName(plan.rectangle.file));
}

function shardRecord(
  { rectangle, index }: ShardPlan,
  hashes: { readonly sha256: string; readonly indexSha256: string },
): ShardRecord {
  return { ...rectangle, bytes: index.fileBytes, ...hashes };
}

/** Errors of a file that can be written again; errors of the system are reported. */
const UNUSABLE = new Set(['NOT_FOUND', 'INVALID_FILE', 'CORRUPT_DATA']);

/** The record of a shard that is in place and valid throughout; `undefined` if it is missing or damaged. */
export async function finishedShard(
  directory: string,
  plan: ShardPlan,
  xxh64: Xxh64,
): Promise<ShardRecord | undefined> {
  const { identity, archiveId, rectangle } = plan;
  let file: ByteFile | undefined;
  try {
    file = await openLocalFile(join(directory, rectangle.file));
    const shard = await openShard(file, identity.columns, archiveId, rectangle);
    const hash = await verifyShard(shard, xxh64);
    return shardRecord(plan, { sha256: hash, indexSha256: shard.indexSha256 });
  } catch (error) {
    if (UNUSABLE.has(errorCode(error) ?? '')) return undefined;
    throw error;
  } finally {
    await file?.close();
  }
}
