import { createHash } from 'node:crypto';
import { allocate, requireMemory } from '../core/allocate.js';
import type { Dtype } from '../core/dtypes.js';
import { SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { openLocalFile } from '../store/local.js';
import {
  BLOCK_BYTES,
  blockCount,
  hashFile,
  requireSha256,
  requireSize,
  type Xxh64,
} from './checksum.js';
import { replaceFile } from './durable.js';
import { alignmentOf, type PlannedTensor, planSafetensors, type SafetensorsPlan } from './plan.js';
import {
  PAD_PREFIX,
  parseSafetensorsHeader,
  readSafetensorsHeader,
  type SafetensorsLayout,
  tensorBytes,
} from './safetensors.js';
import { BLOCK_SUMS, blockSums, tensorBlocksOf } from './tensor-blocks.js';

/** Safetensors files that are written and read whole: codecs, side data, network weights, images in memory. */

/** A named array; `data` are its little-endian bytes, aligned for its dtype. */
export interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface TensorFile {
  /** Without pads. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * The bytes of a file of these tensors; equal input gives equal bytes. `name` is for error messages.
 *
 * @param xxh64 for checksums of blocks, if there are several.
 */
export function encodeTensorFile(
  name: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>>,
  xxh64?: Xxh64,
): Uint8Array<ArrayBuffer> {
  for (const [tensor, { dtype, shape, data }] of tensors) {
    const expected = tensorBytes(dtype, shape);
    if (expected === data.length) continue;
    throw new SoftpackError('INVALID_ARGUMENT', 'tensor data does not fit its shape', {
      field: `${name}: tensor ${tensor}`,
      expected: `${expected} bytes for ${dtype} [${shape}]`,
      found: data.length,
    });
  }
  const planned = [...tensors].map(([tensor, { dtype, shape }]) => ({
    name: tensor,
    dtype,
    shape,
  }));
  const { header, layout } =
    xxh64 === undefined ? planSafetensors(planned, metadata) : planWithSums(planned, metadata);
  const bytes = new Uint8Array(layout.fileBytes);
  bytes.set(header);
  for (const [tensor, { data }] of tensors) {
    bytes.set(data, layout.dataOffset + (layout.tensors.get(tensor)?.begin ?? 0));
  }
  const place = tensorBlocksOf(layout);
  if (place !== undefined && xxh64 !== undefined) {
    bytes.set(blockSums(bytes, place, xxh64), place.tableOffset);
  }
  return bytes;
}

function planWithSums(
  tensors: readonly PlannedTensor[],
  metadata: Readonly<Record<string, string>>,
): SafetensorsPlan {
  const plain = planSafetensors(tensors, metadata);
  if (plain.layout.fileBytes - plain.layout.dataOffset <= BLOCK_BYTES) return plain;
  const sums = (blocks: number) => [
    ...tensors,
    { name: BLOCK_SUMS, dtype: 'U64', shape: [blocks] } as const,
  ];
  const alignment = alignmentOf(tensors);
  const { layout } = planSafetensors(sums(0), metadata, alignment);
  const covered = layout.tensors.get(BLOCK_SUMS)?.begin ?? 0;
  return planSafetensors(sums(blockCount(covered)), metadata, alignment);
}

/** Writes the file in one go, replacing what was there. */
export async function writeTensorFile(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  await replaceFile(path, encodeTensorFile(path, tensors, metadata));
}

/** The manifest's record of the file. */
export interface RecordedFile {
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Reads and checks an open file. With `recorded` its size must be the recorded one, and with `verify` its hash too:
 * `INVALID_FILE` or `CORRUPT_DATA` otherwise.
 */
export async function decodeTensorFile(
  file: ByteFile,
  recorded?: RecordedFile,
  verify = recorded !== undefined,
): Promise<TensorFile> {
  if (recorded !== undefined) requireSize(file, recorded);
  const header = await readSafetensorsHeader(file);
  let layout: SafetensorsLayout;
  try {
    layout = parseSafetensorsHeader(file.name, header, file.size);
  } catch (malformed) {
    // A changed file is reported as changed, whatever the change broke.
    if (recorded !== undefined && verify) requireSha256(file, recorded, await hashFile(file));
    throw malformed;
  }
  // Checked as a sum: many tensors that fit one by one could still exhaust memory.
  requireMemory(layout.fileBytes - layout.dataOffset, `${file.name}: size`);
  const hash = createHash('sha256').update(header);
  const tensors = new Map<string, StoredTensor>();
  for (const { name, dtype, shape, begin, end } of layout.tensors.values()) {
    const data = new Uint8Array(allocate(end - begin, `${file.name}: tensor ${name}`));
    await file.read(layout.dataOffset + begin, data);
    if (verify) hash.update(data);
    if (!name.startsWith(PAD_PREFIX)) tensors.set(name, { dtype, shape, data });
  }
  if (recorded !== undefined && verify) requireSha256(file, recorded, hash.digest('hex'));
  return { tensors, metadata: layout.metadata };
}

/** {@link decodeTensorFile} of a local file. */
export async function readTensorFile(path: string): Promise<TensorFile> {
  const file = await openLocalFile(path);
  try {
    return await decodeTensorFile(file);
  } finally {
    await file.close();
  }
}
