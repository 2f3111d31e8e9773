import { readFile, rename, writeFile } from 'node:fs/promises';
import type { Tensor, TensorDtype } from '../codec/codec.js';
import { SoftpackError } from '../errors.js';

/** Small safetensors files, whole in memory: network weights and packed images. */
export interface TensorFile {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const LENGTH_BYTES = 8;
const ALIGNMENT = 8;
const ELEMENT_BYTES: Readonly<Record<TensorDtype, number>> = {
  U8: 1,
  U16: 2,
  F16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  F64: 8,
  U64: 8,
};

interface HeaderEntry {
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** Writes the file under a temporary name first, so that a half-written one never bears its name. */
export async function writeTensors(
  file: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  // Wider elements first keeps every tensor aligned to its element size without gaps, which the format forbids.
  const ordered = [...tensors].sort(
    ([, a], [, b]) => ELEMENT_BYTES[b.dtype] - ELEMENT_BYTES[a.dtype],
  );
  for (const [name, { dtype, shape, data }] of ordered) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.length] };
    offset += data.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil(json.length / ALIGNMENT) * ALIGNMENT;
  const start = Buffer.alloc(LENGTH_BYTES + padded, ' ');
  start.writeBigUInt64LE(BigInt(padded));
  json.copy(start, LENGTH_BYTES);
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, Buffer.concat([start, ...ordered.map(([, { data }]) => data)]));
  await rename(temporary, file);
}

export async function readTensors(file: string): Promise<TensorFile> {
  const bytes = await readFile(file);
  const fail = (field: string, found: unknown): never => {
    throw new SoftpackError('INVALID_FILE', `${file} is not a valid safetensors file`, {
      field,
      found,
    });
  };
  if (bytes.length < LENGTH_BYTES) fail('length', bytes.length);
  const length = Number(bytes.readBigUInt64LE());
  if (length > bytes.length - LENGTH_BYTES) fail('header length', length);
  const data = bytes.subarray(LENGTH_BYTES + length);
  const { __metadata__: metadata = {}, ...entries } = parseHeader(
    bytes.toString('utf8', LENGTH_BYTES, LENGTH_BYTES + length),
    fail,
  );
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(entries)) {
    const [from, to] = data_offsets;
    const size = shape.reduce((product, n) => product * n, ELEMENT_BYTES[dtype]);
    if (!(from >= 0 && to - from === size && to <= data.length)) fail(name, data_offsets);
    tensors.set(name, { dtype, shape, data: Uint8Array.from(data.subarray(from, to)) });
  }
  return { tensors, metadata };
}

function parseHeader(
  json: string,
  fail: (field: string, found: unknown) => never,
): Record<string, HeaderEntry> & { __metadata__?: Record<string, string> } {
  try {
    return JSON.parse(json);
  } catch {
    return fail('header', `${json.slice(0, 40)}...`);
  }
}
