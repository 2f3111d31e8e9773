import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { requireSha256, requireSize, sha256 } from '../container/checksum.js';
import { replaceFile } from '../container/durable.js';
import { planSafetensors } from '../container/plan.js';
import {
  PAD_PREFIX,
  parseSafetensorsHeader,
  readSafetensorsHeader,
  tensorBytes,
} from '../container/safetensors.js';
import type { CodecParts, CodeLayout, Tensor } from '../core/codec-parts.js';
import { isTensorDtype, TENSOR_DTYPES } from '../core/dtypes.js';
import type { JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import type { FileRecord } from './manifest.js';

/** Small files that are written and read whole: a codec's tensors, side data of samples. */

export interface TensorFile {
  readonly record: FileRecord;
  readonly bytes: Uint8Array;
}

/** How the labels of a row lie in its bytes, in words: enough to decode them with no code of ours. */
export function packingWords(layout: CodeLayout, samples: number): string {
  if (layout.kind !== 'fixed') return `${layout.kind}`;
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
): TensorFile {
  return planTensorFile(file, codec.tensors, {
    format: 'softpack codec',
    codec: codec.name,
    config: JSON.stringify(config),
    ...words,
  });
}

export function planSamplesFile(file: string, codec: CodecParts): TensorFile | undefined {
  if (codec.sampleTensors.size === 0) return undefined;
  return planTensorFile(file, codec.sampleTensors, {
    format: 'softpack samples',
    codec: codec.name,
    rows: 'one row a sample, in order, the same for all epochs',
  });
}

function planTensorFile(
  file: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>>,
): TensorFile {
  for (const [name, { dtype, shape, data }] of tensors) {
    const expected = tensorBytes(dtype, shape);
    if (expected === data.length) continue;
    throw new SoftpackError('INVALID_ARGUMENT', 'tensor data does not fit its shape', {
      field: `${file}: tensor ${name}`,
      expected: `${expected} bytes for ${dtype} [${shape}]`,
      found: data.length,
    });
  }
  const planned = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const { header, layout } = planSafetensors(planned, metadata);
  const bytes = new Uint8Array(layout.fileBytes);
  bytes.set(header);
  for (const [name, { data }] of tensors) {
    const begin = layout.tensors.get(name)?.begin ?? 0;
    bytes.set(data, layout.dataOffset + begin);
  }
  return { record: { file, bytes: bytes.length, sha256: sha256(bytes) }, bytes };
}

/** Writes the file unless it is there already, whole. */
export async function writeTensorFile(
  directory: string,
  { record, bytes }: TensorFile,
): Promise<void> {
  const path = join(directory, record.file);
  const present = await readFile(path).catch(() => undefined);
  if (present !== undefined && sha256(present) === record.sha256) return;
  await replaceFile(path, bytes);
}

/**
 * Reads all tensors but pads. `CORRUPT_DATA` if the file is not the recorded one, unless `verify` is off;
 * `INVALID_FILE` if its size is another or its header is malformed.
 */
export async function readTensorFile(
  file: ByteFile,
  record: FileRecord,
  verify: boolean,
): Promise<ReadonlyMap<string, Tensor>> {
  requireSize(file, record);
  const header = await readSafetensorsHeader(file);
  const data = new Uint8Array(file.size - header.length);
  await file.read(header.length, data);
  if (verify) requireSha256(file, record, sha256(header, data));
  const layout = parseSafetensorsHeader(file.name, header, file.size);
  const tensors = new Map<string, Tensor>();
  for (const { name, dtype, shape, begin, end } of layout.tensors.values()) {
    if (name.startsWith(PAD_PREFIX)) continue;
    if (!isTensorDtype(dtype)) {
      throw new SoftpackError('UNSUPPORTED', 'dtype that no codec uses', {
        field: `${file.name}: tensor ${name}.dtype`,
        expected: TENSOR_DTYPES.join(', '),
        found: dtype,
      });
    }
    tensors.set(name, { dtype, shape, data: data.subarray(begin, end) });
  }
  return tensors;
}
