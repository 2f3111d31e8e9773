import { join } from 'node:path';
import { hashFile, sha256, type Xxh64 } from '../container/checksum.js';
import { replaceFile } from '../container/durable.js';
import { decodeTensorFile, encodeTensorFile } from '../container/tensor-file.js';
import type { CodecParts, CodeLayout, Tensor } from '../core/codec-parts.js';
import { isTensorDtype, TENSOR_DTYPES } from '../core/dtypes.js';
import type { JsonObject } from '../core/json.js';
import { errorCode, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { openLocalFile } from '../store/local.js';
import type { FileRecord } from './file-record.js';

/** The files of a codec in an archive: its tensors, and side data per sample. */

export interface PlannedFile {
  readonly record: FileRecord;
  readonly bytes: Uint8Array;
}

/** Describes how the labels of a row are packed, so that they can be decoded without this library. */
export function packingWords(layout: CodeLayout, samples: number): string {
  if (layout.kind === 'blocks') {
    return [
      `One row an epoch, labels of ${samples} samples in order, in blocks of ${layout.labelsPerBlock} labels, the last of a`,
      'row shorter. The blocks of all rows follow each other in the tensor codes; block i of the shard is its bytes',
      'codes_offsets[i] to codes_offsets[i+1]-1.',
    ].join(' ');
  }
  const bits = layout.bitsPerLabel;
  return [
    `One row an epoch (a batch where the manifest has pruning), labels of ${samples} samples in order, ${bits} bits a label without padding`,
    'between labels; the row is filled up to a whole byte with zero bits.',
    `Label i occupies bits i*${bits} to (i+1)*${bits}-1 of its row. Bits are counted least significant first:`,
    'bit b of a row is (row[b >> 3] >> (b & 7)) & 1. A label is its fields one after the other, and a field of',
    'w bits starting at bit s has the value sum over j < w of (bit s+j) * 2**j',
    "(NumPy: np.unpackbits(row, bitorder='little')).",
  ].join(' ');
}

export function planCodecFile(
  file: string,
  codec: CodecParts,
  config: JsonObject,
  words: { readonly packing: string; readonly decoding: string },
  xxh64: Xxh64,
): PlannedFile {
  const metadata = {
    ...{ format: 'softpack codec', codec: codec.name, config: JSON.stringify(config) },
    ...words,
  };
  return planTensorFile(file, codec.tensors, metadata, xxh64);
}

export function planSamplesFile(
  file: string,
  codec: CodecParts,
  xxh64: Xxh64,
): PlannedFile | undefined {
  if (codec.sampleTensors.size === 0) return undefined;
  const rows = 'one row a sample, in order, the same for all epochs';
  const metadata = { format: 'softpack samples', codec: codec.name, rows };
  return planTensorFile(file, codec.sampleTensors, metadata, xxh64);
}

function planTensorFile(
  file: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>>,
  xxh64: Xxh64,
): PlannedFile {
  const bytes = encodeTensorFile(file, tensors, metadata, xxh64);
  return { record: { file, bytes: bytes.length, sha256: sha256(bytes) }, bytes };
}

/** Writes the file unless it is already there and complete. */
export async function writePlannedFile(
  directory: string,
  { record, bytes }: PlannedFile,
): Promise<void> {
  const path = join(directory, record.file);
  if (!(await isPresent(path, record))) await replaceFile(path, bytes);
}

async function isPresent(path: string, record: FileRecord): Promise<boolean> {
  const file = await openLocalFile(path).catch((error: unknown) => {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    throw error;
  });
  if (file === undefined) return false;
  try {
    return file.size === record.bytes && (await hashFile(file)) === record.sha256;
  } finally {
    await file.close();
  }
}

/** What a file of a codec holds. */
interface CodecFile {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Reads a recorded file; `UNSUPPORTED` if a tensor has a dtype that no codec uses. */
export async function readCodecFile(
  file: ByteFile,
  record: FileRecord,
  verify: boolean,
): Promise<CodecFile> {
  const found = await decodeTensorFile(file, record, verify);
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, data }] of found.tensors) {
    if (!isTensorDtype(dtype)) {
      throw new SoftpackError('UNSUPPORTED', 'dtype that no codec uses', {
        field: `${file.name}: tensor ${name}.dtype`,
        expected: TENSOR_DTYPES.join(', '),
        found: dtype,
      });
    }
    tensors.set(name, { dtype, shape, data });
  }
  return { tensors, metadata: found.metadata };
}
