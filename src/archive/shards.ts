import { MAX_SHARD_FILE_BYTES } from '../container/shard-file.js';
import { encodeTensorFile, type StoredTensor } from '../container/tensor-file.js';
import { invalidFile } from '../errors.js';
import type { FileRecord } from './file-record.js';
import {
  type Extent,
  type Rectangle,
  rectangleAt,
  type ShardGrid,
  shardCount,
  shardOf,
} from './grid.js';

/** A file with the labels of a rectangle. */
export interface ShardRecord extends FileRecord, Rectangle {
  /** sha256 of header and block checksums together, which must be trusted before a block can be verified. */
  readonly indexSha256: string;
}

/** The shards of an archive, in order of epochs, then of samples. */
export interface Shards {
  readonly count: number;
  /** Sum over all files. */
  readonly bytes: number;
  at(i: number): ShardRecord;
  /** The shard with the label of a stored epoch and a sample. */
  find(epoch: number, sample: number): number;
}

/** Shards as a manifest of version 1 lists them: each has all samples of some epochs. */
export function listedShards(records: readonly ShardRecord[]): Shards {
  return {
    count: records.length,
    bytes: records.reduce((sum, { bytes }) => sum + bytes, 0),
    at: (i) => records[i],
    find(epoch) {
      let [low, high] = [0, records.length - 1];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (records[middle].epochs[1] <= epoch) low = middle + 1;
        else high = middle;
      }
      return low;
    },
  };
}

export const SHARD_TABLE_FILE = 'shards.safetensors';
const TENSOR = 'shards';
/** u64 bytes of the file, sha256 of the file, sha256 of its index; little-endian. */
export const SHARD_RECORD_BYTES = 72;

export const SHARD_TABLE_WORDS = {
  format: 'softpack shards',
  records:
    '72 bytes per shard codes-NNNNN.safetensors, in order: its size (u64), its sha256, sha256 of its header and checksums',
};

function tableWords(file: string): typeof SHARD_TABLE_WORDS {
  if (file === SHARD_TABLE_FILE) return SHARD_TABLE_WORDS;
  const records = SHARD_TABLE_WORDS.records.replace('codes-', 'samples-');
  return { ...SHARD_TABLE_WORDS, records };
}

/** The file of a shard table; its size depends on the number of shards alone. */
export function encodeShardTable(
  records: readonly Pick<ShardRecord, 'bytes' | 'sha256' | 'indexSha256'>[],
  file = SHARD_TABLE_FILE,
): Uint8Array<ArrayBuffer> {
  const data = Buffer.alloc(SHARD_RECORD_BYTES * records.length);
  for (const [i, { bytes, sha256, indexSha256 }] of records.entries()) {
    const at = i * SHARD_RECORD_BYTES;
    data.writeBigUInt64LE(BigInt(bytes), at);
    data.write(sha256, at + 8, 'hex');
    data.write(indexSha256, at + 40, 'hex');
  }
  const tensor = { dtype: 'U8', shape: [records.length, SHARD_RECORD_BYTES], data } as const;
  return encodeTensorFile(file, new Map([[TENSOR, tensor]]), tableWords(file));
}

/** `INVALID_FILE` unless the file has a record for each shard of the grid. */
export function tabledShards(
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  grid: ShardGrid,
  extent: Extent,
): Shards {
  const tensor = tensors.get(TENSOR);
  const count = shardCount(grid, extent);
  const expected = `U8 [${count},${SHARD_RECORD_BYTES}]`;
  const found = tensor === undefined ? 'nothing' : `${tensor.dtype} [${tensor.shape}]`;
  if (tensor === undefined || found !== expected) {
    throw invalidFile(file, `tensor ${TENSOR}`, 'not the table of these shards', {
      expected,
      found,
    });
  }
  const { buffer, byteOffset, byteLength } = tensor.data;
  const data = Buffer.from(buffer, byteOffset, byteLength);
  const bytesAt = (i: number) => Number(data.readBigUInt64LE(i * SHARD_RECORD_BYTES));
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    bytes += bytesAt(i);
    if (bytesAt(i) <= MAX_SHARD_FILE_BYTES) continue;
    const details = { expected: `at most ${MAX_SHARD_FILE_BYTES}`, found: bytesAt(i) };
    throw invalidFile(file, `bytes of shard ${i}`, 'too large for a shard', details);
  }
  return {
    count,
    bytes,
    at(i) {
      const at = i * SHARD_RECORD_BYTES;
      return {
        ...rectangleAt(grid, extent, i),
        bytes: bytesAt(i),
        sha256: data.toString('hex', at + 8, at + 40),
        indexSha256: data.toString('hex', at + 40, at + 72),
      };
    },
    find: (epoch, sample) => shardOf(grid, extent, epoch, sample),
  };
}
