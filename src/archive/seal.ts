import { createHash } from 'node:crypto';
import { type FileHandle, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BLOCK_BYTES, type Xxh64 } from '../container/checksum.js';
import { createTemporary, syncDirectory, writeFully } from '../container/durable.js';
import { type ShardIndex, verifyShard } from '../container/shard-file.js';
import { blocksHeadBytes } from '../core/blocks.js';
import { errorCode } from '../errors.js';
import type { ByteFile, ByteStore } from '../store/byte-store.js';
import { onFile } from '../store/file-error.js';
import { syncFile } from '../store/sync-file.js';
import type { LogPlan, StoredPiece } from './log-records.js';
import { openShard, planShard, readOffsets } from './shard.js';
import type { ShardLog } from './shard-log.js';
import type { ShardRecord } from './shards.js';

/**
 * Makes a shard of a log that holds all of its labels, under its final name. Every byte is compared with the checksum
 * that was computed from memory before it was first written.
 */
export async function sealShard(
  directory: string,
  log: ShardLog,
  xxh64: Xxh64,
): Promise<ShardRecord> {
  const { identity, archiveId, rectangle } = log.plan;
  const path = join(directory, rectangle.file);
  const offsets = await offsetsOf(log);
  const { header, index } = planShard(identity, archiveId, rectangle, Number(offsets?.at(-1) ?? 0));
  const { temporary, handle } = await createTemporary(path);
  try {
    let hashes: ShardHashes;
    try {
      const sink = new ShardSink(path, handle, header, index, xxh64);
      for (const [i, { name }] of identity.columns.entries()) {
        await sink.padTo(index.columns.get(name) ?? 0);
        for await (const part of columnOf(log, i)) await sink.push(part);
        if (i > 0 || offsets === undefined) continue;
        await sink.padTo(index.columns.get('codes_offsets') ?? 0);
        await sink.push(new Uint8Array(offsets.buffer));
      }
      hashes = await sink.end();
      await onFile(path, () => syncFile(handle));
    } finally {
      await onFile(path, () => handle.close());
    }
    await onFile(path, () => rename(temporary, path));
    await syncDirectory(dirname(path));
    return { ...rectangle, bytes: index.fileBytes, ...hashes };
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Pieces of all epochs, in the order of the shard. */
function* piecesOf(log: ShardLog): Generator<StoredPiece> {
  const [first, end] = log.plan.rectangle.epochs;
  for (let epoch = first; epoch < end; epoch++) yield* log.pieces(epoch);
}

/** Bytes of one column, verified. */
async function* columnOf(log: ShardLog, column: number): AsyncGenerator<Uint8Array> {
  const { layout } = log.plan.identity;
  for (const piece of piecesOf(log)) {
    if (column > 0 || layout.kind === 'fixed') {
      yield* log.read(piece, column);
      continue;
    }
    let skip = blocksHeadBytes(Math.ceil(piece.count / layout.labelsPerBlock));
    for await (const part of log.read(piece, column)) {
      if (skip < part.length) yield part.subarray(skip);
      skip = Math.max(0, skip - part.length);
    }
  }
}

/** Where each block of the shard begins, and the end of the last one; undefined in the `fixed` layout. */
async function offsetsOf(log: ShardLog): Promise<BigUint64Array<ArrayBuffer> | undefined> {
  const { layout } = log.plan.identity;
  if (layout.kind === 'fixed') return undefined;
  const offsets: bigint[] = [0n];
  for (const piece of piecesOf(log)) {
    const blocks = Math.ceil(piece.count / layout.labelsPerBlock);
    const head = await log.readHead(piece, 0, blocksHeadBytes(blocks));
    const begin = offsets[offsets.length - 1];
    for (let i = 1; i <= blocks; i++) {
      offsets.push(begin + BigInt(head.getUint32(4 * (i + 1), true)));
    }
  }
  return BigUint64Array.from(offsets);
}

interface ShardHashes {
  readonly sha256: string;
  readonly indexSha256: string;
}

/** Writes a planned shard from its first byte to its last, with the checksums of its blocks. */
class ShardSink {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #header: Uint8Array;
  readonly #index: ShardIndex;
  readonly #xxh64: Xxh64;
  readonly #sha256;
  readonly #checksums: BigUint64Array<ArrayBuffer>;
  readonly #block = new Uint8Array(BLOCK_BYTES);
  #filled = 0;
  #blocks = 0;

  constructor(
    path: string,
    handle: FileHandle,
    header: Uint8Array,
    index: ShardIndex,
    xxh64: Xxh64,
  ) {
    this.#path = path;
    this.#handle = handle;
    this.#header = header;
    this.#index = index;
    this.#xxh64 = xxh64;
    this.#checksums = new BigUint64Array(index.blocks);
    this.#sha256 = createHash('sha256').update(header);
  }

  get #at(): number {
    return this.#index.dataOffset + this.#blocks * BLOCK_BYTES + this.#filled;
  }

  /** Zeros up to an offset of the file. */
  async padTo(offset: number): Promise<void> {
    await this.push(new Uint8Array(offset - this.#at));
  }

  async push(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done + BLOCK_BYTES - this.#filled);
      this.#block.set(part, this.#filled);
      this.#filled += part.length;
      done += part.length;
      if (this.#filled === BLOCK_BYTES) await this.#flush();
    }
  }

  async #flush(): Promise<void> {
    const block = this.#block.subarray(0, this.#filled);
    const at = this.#index.dataOffset + this.#blocks * BLOCK_BYTES;
    this.#checksums[this.#blocks] = this.#xxh64.hash(block);
    this.#sha256.update(block);
    await this.#write(block, at);
    this.#blocks += 1;
    this.#filled = 0;
  }

  async end(): Promise<ShardHashes> {
    await this.padTo(this.#index.tableOffset);
    if (this.#filled > 0) await this.#flush();
    const table = new Uint8Array(this.#checksums.buffer);
    await this.#write(table, this.#index.tableOffset);
    await this.#write(this.#header, 0);
    const index = createHash('sha256').update(this.#header).update(table).digest('hex');
    return { sha256: this.#sha256.update(table).digest('hex'), indexSha256: index };
  }

  #write(bytes: Uint8Array, at: number): Promise<void> {
    return onFile(this.#path, () => writeFully(this.#handle, bytes, at));
  }
}

/** Errors of a file that can be written again; errors of the system are reported. */
const UNUSABLE = new Set(['NOT_FOUND', 'INVALID_FILE', 'CORRUPT_DATA']);

/** The record of a shard that is in place and valid throughout; `undefined` if it is missing or damaged. */
export async function sealedShard(
  store: Pick<ByteStore, 'open'>,
  { identity, archiveId, rectangle }: Omit<LogPlan, 'shard'>,
  xxh64: Xxh64,
): Promise<ShardRecord | undefined> {
  let file: ByteFile | undefined;
  try {
    file = await store.open(rectangle.file);
    const shard = await openShard(file, identity, archiveId, rectangle);
    const sha256 = await verifyShard(shard, xxh64);
    await readOffsets(shard, identity, rectangle, undefined);
    return { ...rectangle, bytes: file.size, sha256, indexSha256: shard.indexSha256 };
  } catch (error) {
    if (UNUSABLE.has(errorCode(error) ?? '')) return undefined;
    throw error;
  } finally {
    await file?.close();
  }
}
