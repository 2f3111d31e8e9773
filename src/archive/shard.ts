import { createHash } from 'node:crypto';
import { BLOCK_BYTES, blockCount, readBlocks, sha256, type Xxh64 } from '../container/checksum.js';
import { type PlannedTensor, planSafetensors, type SafetensorsPlan } from '../container/plan.js';
import {
  parseSafetensorsHeader,
  readSafetensorsHeader,
  type SafetensorsLayout,
} from '../container/safetensors.js';
import { elementBytes } from '../core/dtypes.js';
import { invalidFile, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { packingWords } from './codec-files.js';
import { type ArchiveIdentity, type Column, MAX_SHARDS } from './manifest.js';

/**
 * A shard: the rows of some consecutive epochs as one safetensors file. Each column is one tensor, a row an
 * epoch; the last tensor holds the checksum of every block of the data section before it.
 */

/** Epochs [begin, end) of all samples. */
export interface Rectangle {
  readonly file: string;
  readonly epochs: readonly [number, number];
  readonly samples: readonly [number, number];
}

/** Where the parts of a shard lie, counted from the start of the file. */
export interface ShardIndex {
  readonly dataOffset: number;
  /** Where each column's tensor starts; its rows follow each other. */
  readonly columns: ReadonlyMap<string, number>;
  /** Where the checksums start: the end of what they cover, and of the blocks. */
  readonly tableOffset: number;
  readonly blocks: number;
  readonly fileBytes: number;
}

const DEFAULT_SHARD_BYTES = 256 * 2 ** 20;
const MAX_SHARD_BYTES = 2 ** 30;

/** Divides the epochs evenly among as few shards of about `shardBytes` as they need. */
export function planRectangles(
  { epochs, samples, columns }: Pick<ArchiveIdentity, 'epochs' | 'samples' | 'columns'>,
  shardBytes = DEFAULT_SHARD_BYTES,
): readonly Rectangle[] {
  const rowBytes = columns.reduce((sum, column) => sum + column.rowBytes, 0);
  if (rowBytes > MAX_SHARD_BYTES) {
    throw new SoftpackError('UNSUPPORTED', 'one epoch is more than a shard can hold', {
      field: 'columns',
      expected: `at most ${MAX_SHARD_BYTES} bytes an epoch`,
      found: rowBytes,
    });
  }
  if (!(shardBytes >= 1 && shardBytes <= MAX_SHARD_BYTES)) {
    const details = { field: 'shardBytes', expected: `1 to ${MAX_SHARD_BYTES}`, found: shardBytes };
    throw new SoftpackError('INVALID_ARGUMENT', 'not a size of shards', details);
  }
  const epochsEach = Math.max(1, Math.floor(shardBytes / Math.max(1, rowBytes)));
  const count = Math.ceil(epochs / epochsEach);
  if (count > MAX_SHARDS) {
    const details = { field: 'shardBytes', expected: `at most ${MAX_SHARDS} shards`, found: count };
    throw new SoftpackError('INVALID_ARGUMENT', 'too many shards', details);
  }
  const edge = (i: number) => Math.floor((i * epochs) / count);
  return Array.from({ length: count }, (_, i) => ({
    file: `codes-${digits(i, 5)}-of-${digits(count, 5)}.safetensors`,
    epochs: [edge(i), edge(i + 1)] as const,
    samples: [0, samples] as const,
  }));
}

/** The header of a shard and where its parts lie, before any of its rows is known. */
export function planShard(
  identity: ArchiveIdentity,
  archiveId: string,
  rectangle: Rectangle,
): { readonly header: Uint8Array; readonly index: ShardIndex } {
  const rows = rectangle.epochs[1] - rectangle.epochs[0];
  const columns = identity.columns.map(({ name, dtype, rowBytes }) => ({
    name: tensorName(name, rectangle),
    dtype,
    shape: [rows, rowBytes / elementBytes(dtype)],
  }));
  const { header, layout } = planChecksummed(columns, tensorName('block_xxh64', rectangle), {
    format: 'softpack shard',
    archive: archiveId,
    epochs: rectangle.epochs.join(':'),
    samples: rectangle.samples.join(':'),
    packing: packingWords(identity.layout, identity.samples),
  });
  return { header, index: locate('planned shard', layout, identity.columns, rectangle) };
}

/** Plans a file whose last tensor, `table`, holds a checksum for every block of the data before it. */
export function planChecksummed(
  tensors: readonly PlannedTensor[],
  table: string,
  metadata: Readonly<Record<string, string>>,
): SafetensorsPlan {
  const checksums = (blocks: number) => ({ name: table, dtype: 'U64', shape: [blocks] }) as const;
  // Where the checksums start does not depend on how many there are.
  const covered = planSafetensors([...tensors, checksums(0)]).layout;
  const blocks = blockCount(covered.fileBytes - covered.dataOffset);
  return planSafetensors([...tensors, checksums(blocks)], {
    ...metadata,
    checksums:
      `${table}[i] is xxh64 (seed 0) of bytes i*${BLOCK_BYTES} to (i+1)*${BLOCK_BYTES}-1 ` +
      'of the data section, the last block ending where this tensor begins.',
  });
}

/** Tensor names say which rectangle they hold, so that they differ from shard to shard. */
function tensorName(column: string, { epochs, samples }: Rectangle): string {
  const [e0, e1] = epochs.map((epoch) => digits(epoch, 5));
  const [s0, s1] = samples.map((sample) => digits(sample, 8));
  return `${column}.e${e0}-${e1}.s${s0}-${s1}`;
}

function digits(value: number, count: number): string {
  return String(value).padStart(count, '0');
}

function locate(
  file: string,
  layout: SafetensorsLayout,
  columns: readonly Column[],
  rectangle: Rectangle,
): ShardIndex {
  const rows = rectangle.epochs[1] - rectangle.epochs[0];
  const begins = columns.map(({ name, dtype, rowBytes }) => {
    const shape = [rows, rowBytes / elementBytes(dtype)];
    const begin = requireTensor(file, layout, tensorName(name, rectangle), dtype, shape);
    return [name, layout.dataOffset + begin] as const;
  });
  return indexOf(file, layout, tensorName('block_xxh64', rectangle), new Map(begins));
}

/** The index of a checksummed file, once it is known where its tensors begin. */
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
    throw invalidFile(file, `tensor ${table}`, 'data that no checksum covers', {
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

/** A shard that is open for reading: its index, and the checksums that its blocks are held against. */
export interface OpenShard {
  readonly file: ByteFile;
  readonly index: ShardIndex;
  readonly header: Uint8Array;
  readonly table: Uint8Array;
  /** Of header and checksums together. */
  readonly indexSha256: string;
}

/**
 * Reads header and checksums. `INVALID_FILE` if the file is not the shard of this archive and rectangle.
 */
export async function openShard(
  file: ByteFile,
  columns: readonly Column[],
  archiveId: string,
  rectangle: Rectangle,
): Promise<OpenShard> {
  const header = await readSafetensorsHeader(file);
  const layout = parseSafetensorsHeader(file.name, header, file.size);
  const found = layout.metadata.get('archive');
  if (found !== archiveId) {
    const details = { expected: archiveId, found: found ?? 'nothing' };
    throw invalidFile(file.name, '__metadata__.archive', 'shard of another archive', details);
  }
  const index = locate(file.name, layout, columns, rectangle);
  const table = new Uint8Array(8 * index.blocks);
  await file.read(index.tableOffset, table);
  return { file, index, header, table, indexSha256: sha256(header, table) };
}

/** Fills `into` from byte `begin` of the file on, reading whole blocks and holding each against its checksum. */
export async function readVerified(
  shard: OpenShard,
  xxh64: Xxh64,
  begin: number,
  into: Uint8Array,
): Promise<void> {
  const { dataOffset, tableOffset } = shard.index;
  const end = begin + into.length;
  let at = begin;
  while (at < end) {
    const i = Math.floor((at - dataOffset) / BLOCK_BYTES);
    const blockBegin = dataOffset + i * BLOCK_BYTES;
    const blockEnd = Math.min(blockBegin + BLOCK_BYTES, tableOffset);
    const whole = blockBegin === at && blockEnd <= end;
    // A block that is wanted in part only is read beside the row, and the part copied.
    const block = whole
      ? into.subarray(at - begin, blockEnd - begin)
      : new Uint8Array(blockEnd - blockBegin);
    await shard.file.read(blockBegin, block);
    requireBlock(shard, xxh64, i, block);
    const next = Math.min(blockEnd, end);
    if (!whole) into.set(block.subarray(at - blockBegin, next - blockBegin), at - begin);
    at = next;
  }
}

/** Throws `CORRUPT_DATA`, naming file and block, unless the bytes of block `i` match their checksum. */
export function requireBlock(shard: OpenShard, xxh64: Xxh64, i: number, bytes: Uint8Array): void {
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

/** Holds every block against its checksum and gives the sha256 of the whole file. */
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
