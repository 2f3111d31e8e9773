import { sha256, type Xxh64 } from '../container/checksum.js';
import {
  parseSafetensorsHeader,
  readSafetensorsHeader,
  type SafetensorsLayout,
} from '../container/safetensors.js';
import {
  type EdgeBlock,
  indexOf,
  type OpenShard as OpenFile,
  planChecksummed,
  readVerified,
  requireTensor,
  type ShardIndex,
} from '../container/shard-file.js';
import { allocate } from '../core/allocate.js';
import { elementBytes } from '../core/dtypes.js';
import { invalidFile, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import type { Rectangle } from './grid.js';
import type { ArchiveIdentity, Column } from './identity.js';

/**
 * A shard: the labels of a rectangle of epochs x samples as one safetensors file. Each column is one tensor, with one
 * row per epoch; the last tensor holds the checksum of every block of the data section before it. Codes of the
 * `blocks` layout are one tensor of bytes, and where each block begins is another.
 */

/** Tensor with where each block of `codes` begins, u64 [blocks + 1], the last one being their end. */
export const OFFSETS = 'codes_offsets';

/** A shard that is open for reading. */
export interface OpenShard extends OpenFile {
  /** Of the whole rectangle. */
  readonly codesBytes: number;
  /** Layout `blocks`: u64 [blocks + 1]. */
  readonly offsets?: BigUint64Array;
}

export type Shape = Pick<ArchiveIdentity, 'columns' | 'layout' | 'samples'>;

/** Bytes that a column has in each row of a rectangle of `count` samples; undefined if that is not fixed. */
export function columnBytes(
  { columns, layout, samples }: Shape,
  column: Column,
  count: number,
): number | undefined {
  if (column === columns[0]) {
    return layout.kind === 'fixed' ? Math.ceil((count * layout.bitsPerLabel) / 8) : undefined;
  }
  return count === samples ? column.rowBytes : (column.rowBytes / samples) * count;
}

/** Blocks in one row of a rectangle; 0 in the `fixed` layout. */
export function blocksPerRow({ layout }: Shape, { samples: [from, to] }: Rectangle): number {
  return layout.kind === 'fixed' ? 0 : Math.ceil((to - from) / layout.labelsPerBlock);
}

/**
 * Header and layout of a shard.
 *
 * @param codesBytes of the `blocks` layout: all blocks of the rectangle together.
 */
export function planShard(
  identity: Shape,
  archiveId: string,
  rectangle: Rectangle,
  codesBytes = 0,
): { readonly header: Uint8Array; readonly index: ShardIndex } {
  const tensors = tensorsOf(identity, rectangle, codesBytes).map((tensor) => ({
    ...tensor,
    name: tensorName(tensor.name, rectangle),
  }));
  const { header, layout } = planChecksummed(tensors, tensorName('block_xxh64', rectangle), {
    format: 'softpack shard',
    archive: archiveId,
    epochs: rectangle.epochs.join(':'),
    samples: rectangle.samples.join(':'),
  });
  return { header, index: locate('planned shard', layout, identity, rectangle) };
}

/** Names of the tensors, without their rectangle, with types and shapes. */
function tensorsOf(shape: Shape, rectangle: Rectangle, codesBytes: number) {
  const rows = rectangle.epochs[1] - rectangle.epochs[0];
  const count = rectangle.samples[1] - rectangle.samples[0];
  return shape.columns.flatMap((column) => {
    const { name, dtype } = column;
    const bytes = columnBytes(shape, column, count);
    if (bytes !== undefined) return [{ name, dtype, shape: [rows, bytes / elementBytes(dtype)] }];
    const blocks = rows * blocksPerRow(shape, rectangle);
    return [
      { name, dtype, shape: [codesBytes] },
      { name: OFFSETS, dtype: 'U64', shape: [blocks + 1] } as const,
    ];
  });
}

/** Tensor names contain their rectangle, so that they differ between shards. */
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
  shape: Shape,
  rectangle: Rectangle,
): ShardIndex {
  const codes = layout.tensors.get(tensorName('codes', rectangle));
  const codesBytes = codes === undefined ? 0 : codes.end - codes.begin;
  const begins = tensorsOf(shape, rectangle, codesBytes).map(({ name, dtype, shape: wanted }) => {
    const begin = requireTensor(file, layout, tensorName(name, rectangle), dtype, wanted);
    return [name, layout.dataOffset + begin] as const;
  });
  return indexOf(file, layout, tensorName('block_xxh64', rectangle), new Map(begins));
}

/**
 * Reads header and checksums. `INVALID_FILE` if the file is not the shard of this archive and rectangle.
 */
export async function openShard(
  file: ByteFile,
  shape: Shape,
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
  const index = locate(file.name, layout, shape, rectangle);
  const table = new Uint8Array(8 * index.blocks);
  await file.read(index.tableOffset, table);
  const codes = layout.tensors.get(tensorName('codes', rectangle));
  const codesBytes = codes === undefined ? 0 : codes.end - codes.begin;
  return { file, index, header, table, codesBytes, indexSha256: sha256(header, table) };
}

/** Where the blocks of a shard lie. `INVALID_FILE` unless they follow each other and end with the codes. */
export async function readOffsets(
  shard: OpenShard,
  shape: Shape,
  rectangle: Rectangle,
  xxh64: Xxh64 | undefined,
): Promise<OpenShard> {
  const at = shard.index.columns.get(OFFSETS);
  if (at === undefined) return shard;
  const rows = rectangle.epochs[1] - rectangle.epochs[0];
  const blocks = rows * blocksPerRow(shape, rectangle);
  const field = `${shard.file.name}: tensor ${OFFSETS}`;
  const bytes = new Uint8Array(allocate(8 * (blocks + 1), field));
  await readFrom(shard, xxh64, at, bytes);
  const offsets = new BigUint64Array(bytes.buffer);
  const end = BigInt(shard.codesBytes);
  for (const [i, offset] of offsets.entries()) {
    const least = i === 0 ? 0n : i === blocks ? end : offsets[i - 1];
    const most = i === 0 && blocks > 0 ? 0n : end;
    if (offset >= least && offset <= most) continue;
    throw invalidFile(shard.file.name, `${OFFSETS}[${i}]`, 'blocks out of order', {
      expected: least === most ? String(least) : `${least} to ${most}`,
      found: String(offset),
    });
  }
  return { ...shard, offsets };
}

/** Fills `into` from a byte of the file on, verified if a hash is given. */
export function readFrom(
  shard: OpenFile,
  xxh64: Xxh64 | undefined,
  at: number,
  into: Uint8Array,
  edge?: EdgeBlock,
): Promise<void> {
  if (xxh64 === undefined) return shard.file.read(at, into);
  return readVerified(shard, xxh64, at, into, edge);
}

/** `CORRUPT_DATA` if header or checksums are not those that the archive recorded. */
export function requireIndex(shard: OpenFile, indexSha256: string): void {
  if (shard.indexSha256 === indexSha256) return;
  throw new SoftpackError('CORRUPT_DATA', 'header or checksums were changed', {
    field: `${shard.file.name}: indexSha256`,
    expected: indexSha256,
    found: shard.indexSha256,
  });
}
