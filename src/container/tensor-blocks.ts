import type { ByteFile } from '../store/byte-store.js';
import { BLOCK_BYTES, blockCount, loadXxh64, type Xxh64 } from './checksum.js';
import {
  PAD_PREFIX,
  parseSafetensorsHeader,
  readSafetensorsHeader,
  type SafetensorsLayout,
} from './safetensors.js';

/**
 * Checksums of the blocks of a large file of tensors. They tell which part of a file is damaged and has to be fetched
 * again; whether a file is whole is told by its sha256 alone. Their tensor is a pad, which readers skip.
 */
export const BLOCK_SUMS = `${PAD_PREFIX}xxh64`;

interface TensorBlocks {
  readonly dataOffset: number;
  /** End of the blocks, and where their checksums begin. */
  readonly tableOffset: number;
  readonly blocks: number;
}

/** Undefined for files without such checksums at their end. */
export function tensorBlocksOf(layout: SafetensorsLayout): TensorBlocks | undefined {
  const table = layout.tensors.get(BLOCK_SUMS);
  if (table?.dtype !== 'U64') return undefined;
  const { dataOffset, fileBytes } = layout;
  const [blocks, tableOffset] = [blockCount(table.begin), dataOffset + table.begin];
  if (tableOffset + 8 * blocks !== fileBytes) return undefined;
  return { dataOffset, tableOffset, blocks };
}

/** Checksums of the blocks of a file in memory. */
export function blockSums(
  file: Uint8Array,
  { dataOffset, tableOffset, blocks }: TensorBlocks,
  xxh64: Xxh64,
): Uint8Array {
  const sums = BigUint64Array.from({ length: blocks }, (_, i) => {
    const begin = dataOffset + i * BLOCK_BYTES;
    return xxh64.hash(file.subarray(begin, Math.min(begin + BLOCK_BYTES, tableOffset)));
  });
  return new Uint8Array(sums.buffer);
}

/** Header, layout and checksums; undefined if the file has none, or another structure. */
export async function readTensorBlocks(file: ByteFile) {
  const header = await readSafetensorsHeader(file);
  const layout = parseSafetensorsHeader(file.name, header, file.size);
  const place = tensorBlocksOf(layout);
  if (place === undefined) return undefined;
  const table = new Uint8Array(8 * place.blocks);
  await file.read(place.tableOffset, table);
  return { header, layout, place, table };
}

export interface DamagedBlock {
  readonly block: number;
  /** [first, after the last] of the file. */
  readonly bytes: readonly [number, number];
  readonly expected: bigint;
  readonly found: bigint;
}

/** Blocks that do not match their checksums. */
export async function damagedBlocks(
  file: ByteFile,
  place: TensorBlocks,
  table: Uint8Array,
): Promise<readonly DamagedBlock[]> {
  const xxh64 = await loadXxh64();
  const sums = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const buffer = new Uint8Array(BLOCK_BYTES);
  const damaged: DamagedBlock[] = [];
  for (let i = 0; i < place.blocks; i++) {
    const begin = place.dataOffset + i * BLOCK_BYTES;
    const block = buffer.subarray(0, Math.min(BLOCK_BYTES, place.tableOffset - begin));
    await file.read(begin, block);
    const [expected, found] = [sums.getBigUint64(8 * i, true), xxh64.hash(block)];
    if (expected === found) continue;
    damaged.push({ block: i, bytes: [begin, begin + block.length], expected, found });
  }
  return damaged;
}
