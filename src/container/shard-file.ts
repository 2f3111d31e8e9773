import { createHash } from 'node:crypto';
import { invalidFile, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { BLOCK_BYTES, blockCount, readBlocks, type Xxh64 } from './checksum.js';
import { alignmentOf, type PlannedTensor, planSafetensors, type SafetensorsPlan } from './plan.js';
import type { SafetensorsLayout } from './safetensors.js';

/**
 * Safetensors files whose last tensor holds the checksum of every block of the data before it, and the folder that holds
 * such files with a manifest: shared by archives and packed images.
 */

/** Written last: its presence means that the rest is complete. */
export const MANIFEST_FILE = 'manifest.json';
export const MAX_MANIFEST_BYTES = 64 * 2 ** 20;
export const MAX_SHARDS = 10_000;
/** Rows in one shard, bytes. */
export const MAX_SHARD_BYTES = 2 ** 30;
/** Header (16 MiB at most), padding and checksums included. */
export const MAX_SHARD_FILE_BYTES = MAX_SHARD_BYTES + 2 ** 25;

/** Where the parts of a shard lie, counted from the start of the file. */
export interface ShardIndex {
  readonly dataOffset: number;
  /** Where each column's tensor starts; its rows follow each other. */
  readonly columns: ReadonlyMap<string, number>;
  /** Start of the checksums, and end of the blocks that they cover. */
  readonly tableOffset: number;
  readonly blocks: number;
  readonly fileBytes: number;
}

/** Plans a file whose last tensor, `table`, holds a checksum for every block of the data before it. */
export function planChecksummed(
  tensors: readonly PlannedTensor[],
  table: string,
  metadata: Readonly<Record<string, string>>,
): SafetensorsPlan {
  const checksums = (blocks: number) => ({ name: table, dtype: 'U64', shape: [blocks] }) as const;
  // Where the checksums start does not depend on how many there are.
  const alignment = alignmentOf(tensors);
  const covered = planSafetensors([...tensors, checksums(0)], {}, alignment).layout;
  const blocks = blockCount(covered.fileBytes - covered.dataOffset);
  const words = `xxh64 (seed 0) of every ${BLOCK_BYTES} bytes of the data before it`;
  return planSafetensors(
    [...tensors, checksums(blocks)],
    { ...metadata, checksums: `${table.split('.')[0]}: ${words}` },
    alignment,
  );
}

/** The index of a checksummed file whose columns have been located. */
export function indexOf(
  file: string,
  layout: SafetensorsLayout,
  table: string,
  columns: ReadonlyMap<string, number>,
): ShardIndex {
  const blocks = blockCount(layout.tensors.get(table)?.begin ?? 0);
  const begin = requireTensor(file, layout, table, 'U64', [blocks]);
  const tableOffset = layout.dataOffset + begin;
  if (tableOffset + 8 * blocks !== layout.fileBytes) {
    throw invalidFile(file, `tensor ${table}`, 'data not covered by checksums', {
      expected: 'the last tensor',
    });
  }
  const { dataOffset, fileBytes } = layout;
  return { dataOffset, columns, tableOffset, blocks, fileBytes };
}

/** Where the tensor begins in the data section; `INVALID_FILE` unless it has this dtype and shape. */
export function requireTensor(
  file: string,
  layout: SafetensorsLayout,
  name: string,
  dtype: string,
  shape: readonly number[],
): number {
  const tensor = layout.tensors.get(name);
  const expected = `${dtype} [${shape}]`;
  const found = tensor === undefined ? 'nothing' : `${tensor.dtype} [${tensor.shape}]`;
  if (tensor !== undefined && found === expected) return tensor.begin;
  throw invalidFile(file, `tensor ${name}`, 'not the tensor of this archive', { expected, found });
}

/** A shard that is open for reading, with its index and the checksums of its blocks. */
export interface OpenShard {
  readonly file: ByteFile;
  readonly index: ShardIndex;
  readonly header: Uint8Array;
  readonly table: Uint8Array;
  /** sha256 of header and checksums together. */
  readonly indexSha256: string;
}

/** The last block that was read in part: whoever reads on begins with the rest of it. */
export class EdgeBlock {
  #shard: OpenShard | undefined;
  #i = 0;
  #bytes = new Uint8Array(0);

  of(shard: OpenShard, i: number): Uint8Array | undefined {
    return this.#shard?.table === shard.table && this.#i === i ? this.#bytes : undefined;
  }

  keep(shard: OpenShard, i: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#shard = shard;
    this.#i = i;
    this.#bytes = bytes;
  }
}

/** Fills `into` from byte `begin` of the file on, reading whole blocks and verifying the checksum of each. */
export async function readVerified(
  shard: OpenShard,
  xxh64: Xxh64,
  begin: number,
  into: Uint8Array,
  edge?: EdgeBlock,
): Promise<void> {
  const { dataOffset, tableOffset } = shard.index;
  const end = begin + into.length;
  const lastBlock = Math.ceil((end - dataOffset) / BLOCK_BYTES);
  const until = Math.min(dataOffset + lastBlock * BLOCK_BYTES, tableOffset);
  let at = begin;
  while (at < end) {
    const i = Math.floor((at - dataOffset) / BLOCK_BYTES);
    const blockBegin = dataOffset + i * BLOCK_BYTES;
    const blockEnd = Math.min(blockBegin + BLOCK_BYTES, tableOffset);
    const whole = blockBegin === at && blockEnd <= end;
    // A block that is only partly requested is read into its own buffer, and the part copied.
    const next = Math.min(blockEnd, end);
    if (whole) {
      await readBlock(shard, xxh64, i, into.subarray(at - begin, blockEnd - begin), until);
    } else {
      const known = edge?.of(shard, i);
      const block = known ?? new Uint8Array(blockEnd - blockBegin);
      if (known === undefined) {
        await readBlock(shard, xxh64, i, block, until);
        if (blockEnd > end) edge?.keep(shard, i, block as Uint8Array<ArrayBuffer>);
      }
      into.set(block.subarray(at - blockBegin, next - blockBegin), at - begin);
    }
    at = next;
  }
}

/** Reads block `i`; one from a server is asked for again if it is damaged: a cache or the way here may have done it. */
async function readBlock(
  shard: OpenShard,
  xxh64: Xxh64,
  i: number,
  into: Uint8Array,
  until: number,
): Promise<void> {
  const { file, index } = shard;
  const begin = index.dataOffset + i * BLOCK_BYTES;
  await file.read(begin, into, { until });
  try {
    requireBlock(shard, xxh64, i, into);
  } catch (error) {
    if (file.version === undefined) throw error;
    await file.read(begin, into, { fresh: true });
    requireBlock(shard, xxh64, i, into);
  }
}

/** Throws `CORRUPT_DATA`, naming file and block, unless the bytes of block `i` match their checksum. */
function requireBlock(shard: OpenShard, xxh64: Xxh64, i: number, bytes: Uint8Array): void {
  const { buffer, byteOffset, byteLength } = shard.table;
  const expected = new DataView(buffer, byteOffset, byteLength).getBigUint64(8 * i, true);
  const found = xxh64.hash(bytes);
  if (found === expected) return;
  throw new SoftpackError('CORRUPT_DATA', 'stored bytes do not match their checksum', {
    field: `${shard.file.name}: block ${i}`,
    expected: expected.toString(16),
    found: found.toString(16),
  });
}

/** Verifies every block checksum and returns the sha256 of the whole file. */
export async function verifyShard(shard: OpenShard, xxh64: Xxh64): Promise<string> {
  const { dataOffset, tableOffset } = shard.index;
  const hash = createHash('sha256').update(shard.header);
  let i = 0;
  for await (const block of readBlocks(shard.file, dataOffset, tableOffset)) {
    requireBlock(shard, xxh64, i++, block);
    hash.update(block);
  }
  return hash.update(shard.table).digest('hex');
}
