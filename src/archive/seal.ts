import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { BLOCK_BYTES, sha256 as sha256Of, type Xxh64 } from '../container/checksum.js';
import { writeParts, writeTemporary } from '../container/durable.js';
import { type ShardIndex, verifyShard } from '../container/shard-file.js';
import { blocksHeadBytes } from '../core/blocks.js';
import { errorCode } from '../errors.js';
import type { ByteFile, ByteStore } from '../store/byte-store.js';
import type { Piece, ShardPlan } from './log-records.js';
import { openShard, planShard, readOffsets } from './shard.js';
import type { ShardRecord } from './shards.js';

/** The pieces of a shard, wherever they are kept. */
export interface PieceLog<P extends Piece> {
  readonly plan: ShardPlan;
  /** Pieces of an epoch, in order of samples. */
  pieces(epoch: number): readonly P[];
  /** A column of a piece in parts, verified once the last one was read. */
  read(piece: P, column: number): AsyncIterable<Uint8Array>;
  /** The first bytes of a column, not verified. */
  readHead(piece: P, column: number, bytes: number): Promise<DataView>;
}

/** What is known of a shard once its last byte is. */
export type SealedShard = Pick<ShardRecord, 'bytes' | 'sha256' | 'indexSha256'>;

/**
 * Makes a shard of a log that holds all of its labels, under its final name. Every byte is compared with the checksum
 * that was computed from memory before it was first written.
 */
export async function sealShard<P extends Piece>(
  directory: string,
  log: PieceLog<P>,
  xxh64: Xxh64,
): Promise<ShardRecord> {
  const { rectangle } = log.plan;
  const path = join(directory, rectangle.file);
  let sealed: SealedShard | undefined;
  async function* parts() {
    sealed = yield* shardParts(log, xxh64);
  }
  await writeTemporary(path, (handle) => writeParts(handle, parts()));
  return { ...rectangle, ...(sealed as unknown as SealedShard) };
}

/**
 * The bytes of the shard of a log that holds all of its labels, from the first to the last, in parts of at most a block
 * that belong to the reader; hashed as they pass.
 */
export async function* shardParts<P extends Piece>(
  log: PieceLog<P>,
  xxh64: Xxh64,
): AsyncGenerator<Uint8Array, SealedShard> {
  const { identity, archiveId, rectangle } = log.plan;
  const offsets = await offsetsOf(log);
  const { header, index } = planShard(identity, archiveId, rectangle, Number(offsets?.at(-1) ?? 0));
  const checksums: bigint[] = [];
  const sha256 = createHash('sha256').update(header);
  yield header;
  for await (const block of inBlocks(dataOf(log, index, offsets))) {
    checksums.push(xxh64.hash(block));
    sha256.update(block);
    yield block;
  }
  const table = new Uint8Array(BigUint64Array.from(checksums).buffer);
  yield table;
  return {
    bytes: index.fileBytes,
    sha256: sha256.update(table).digest('hex'),
    indexSha256: sha256Of(header, table),
  };
}

/** The data section of a shard, with zeros between its tensors. */
async function* dataOf<P extends Piece>(
  log: PieceLog<P>,
  { columns, dataOffset, tableOffset }: ShardIndex,
  offsets: BigUint64Array<ArrayBuffer> | undefined,
): AsyncGenerator<Uint8Array> {
  let at = dataOffset;
  const upTo = (offset: number) => {
    const zeros = new Uint8Array(offset - at);
    at = offset;
    return zeros;
  };
  for (const [i, { name }] of log.plan.identity.columns.entries()) {
    yield upTo(columns.get(name) ?? 0);
    for await (const part of columnOf(log, i)) {
      yield part;
      at += part.length;
    }
    if (i > 0 || offsets === undefined) continue;
    yield upTo(columns.get('codes_offsets') ?? 0);
    yield new Uint8Array(offsets.buffer);
    at += offsets.byteLength;
  }
  yield upTo(tableOffset);
}

/** The same bytes in blocks of their own, all whole but the last. */
async function* inBlocks(
  parts: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let block = new Uint8Array(BLOCK_BYTES);
  let filled = 0;
  for await (const part of parts) {
    for (let done = 0; done < part.length; ) {
      const some = part.subarray(done, done + BLOCK_BYTES - filled);
      block.set(some, filled);
      filled += some.length;
      done += some.length;
      if (filled < BLOCK_BYTES) continue;
      yield block;
      block = new Uint8Array(BLOCK_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

/** Pieces of all epochs, in the order of the shard. */
function* piecesOf<P extends Piece>(log: PieceLog<P>): Generator<P> {
  const [first, end] = log.plan.rectangle.epochs;
  for (let epoch = first; epoch < end; epoch++) yield* log.pieces(epoch);
}

/** Bytes of one column, verified. */
async function* columnOf<P extends Piece>(
  log: PieceLog<P>,
  column: number,
): AsyncGenerator<Uint8Array> {
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
async function offsetsOf<P extends Piece>(
  log: PieceLog<P>,
): Promise<BigUint64Array<ArrayBuffer> | undefined> {
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

/** Errors of a file that can be written again; errors of the system are reported. */
const UNUSABLE = new Set(['NOT_FOUND', 'INVALID_FILE', 'CORRUPT_DATA']);

/** The record of a shard that is in place and valid throughout; `undefined` if it is missing or damaged. */
export async function sealedShard(
  store: Pick<ByteStore, 'open'>,
  { identity, archiveId, rectangle }: ShardPlan,
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
