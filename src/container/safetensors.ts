import { DTYPES, type Dtype, isDtype } from '../core/dtypes.js';
import { isJsonObject, type JsonValue, parseJson } from '../core/json.js';
import { invalidFile } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';

/**
 * The safetensors container: a little-endian u64 N, N bytes of JSON, then tensors back to back.
 *
 * Nothing of the data is read, and nothing in proportion to a number in the file is allocated, before the
 * header has been checked as a whole against the size of the file.
 */

export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** First byte, and the byte after the last, counted from the start of the data section. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsLayout {
  /** Start of the data section: 8 + N. */
  readonly dataOffset: number;
  readonly fileBytes: number;
  readonly metadata: ReadonlyMap<string, string>;
  /** In the order of their bytes; pad tensors included. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

export const MAX_HEADER_BYTES = 16 * 2 ** 20;
export const MAX_TENSORS = 4096;

/** Name prefix of tensors that only fill space: the format allows no holes. */
export const PAD_PREFIX = '__pad__.';

/** Reads and checks the header. `INVALID_FILE` naming file, field, expected and found for any malformation. */
export async function readSafetensorsLayout(file: ByteFile): Promise<SafetensorsLayout> {
  return parseSafetensorsHeader(file.name, await readSafetensorsHeader(file), file.size);
}

/** The first 8 + N bytes, of which only N has been checked. */
export async function readSafetensorsHeader(file: ByteFile): Promise<Uint8Array> {
  if (file.size < 8) {
    const details = { expected: 'at least 8 bytes', found: file.size };
    throw invalidFile(file.name, 'size', 'too short for safetensors', details);
  }
  const prefix = new Uint8Array(8);
  await file.read(0, prefix);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  const most = Math.min(MAX_HEADER_BYTES, file.size - 8);
  if (length > most) {
    const details = { expected: `at most ${most}`, found: String(length) };
    throw invalidFile(file.name, 'header length', 'header is too long', details);
  }
  const header = new Uint8Array(8 + Number(length));
  header.set(prefix);
  await file.read(8, header.subarray(8));
  return header;
}

/** @param header the whole of the first 8 + N bytes. */
export function parseSafetensorsHeader(
  file: string,
  header: Uint8Array,
  fileBytes: number,
): SafetensorsLayout {
  if (header[8] !== 0x7b) {
    const found = header.length > 8 ? `byte ${header[8]}` : 'nothing';
    throw invalidFile(file, 'header', 'does not start with {', { expected: '{', found });
  }
  const json = parseJson(file, 'header', header.subarray(8));
  if (!isJsonObject(json)) throw invalidFile(file, 'header', 'not an object', { found: json });
  let metadata: ReadonlyMap<string, string> = new Map();
  const entries: TensorEntry[] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') metadata = parseMetadata(file, value);
    else entries.push(parseEntry(file, name, value));
    if (entries.length > MAX_TENSORS) {
      throw invalidFile(file, 'header', 'too many tensors', { expected: `at most ${MAX_TENSORS}` });
    }
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCover(file, entries, fileBytes - header.length);
  return {
    dataOffset: header.length,
    fileBytes,
    metadata,
    tensors: new Map(entries.map((entry) => [entry.name, entry])),
  };
}

function parseMetadata(file: string, value: JsonValue): ReadonlyMap<string, string> {
  if (!isJsonObject(value)) {
    const details = { expected: 'an object of strings', found: value };
    throw invalidFile(file, '__metadata__', 'not an object', details);
  }
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      const details = { expected: 'a string', found: text };
      throw invalidFile(file, `__metadata__.${key}`, 'not a string', details);
    }
    metadata.set(key, text);
  }
  return metadata;
}

function parseEntry(file: string, name: string, value: JsonValue): TensorEntry {
  const fail = (field: string, expected: string, found: unknown) =>
    invalidFile(file, `tensor ${name}${field}`, 'not valid', { expected, found });
  if (!isJsonObject(value) || Object.keys(value).length !== 3) {
    throw fail('', 'an object of dtype, shape and data_offsets', value);
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) throw fail('.dtype', Object.keys(DTYPES).join(', '), dtype ?? 'nothing');
  if (!isCounts(shape)) throw fail('.shape', 'a list of counts', shape ?? 'nothing');
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw fail('.data_offsets', '[begin, end]', offsets ?? 'nothing');
  }
  const [begin, end] = offsets;
  if (begin > end) throw fail('.data_offsets', 'begin <= end', offsets);
  const bytes = tensorBytes(dtype, shape);
  if (bytes === undefined) throw fail('.shape', 'a whole number of bytes below 2^53', shape);
  if (bytes !== end - begin) throw fail('.data_offsets', `${bytes} bytes`, offsets);
  return { name, dtype, shape, begin, end };
}

function isCounts(value: JsonValue | undefined): value is readonly number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

/** Bytes of a tensor; `undefined` if that is not a whole number below 2^53. */
export function tensorBytes(dtype: Dtype, shape: readonly number[]): number | undefined {
  let bits: number = DTYPES[dtype].bits;
  for (const n of shape) {
    bits *= n;
    if (bits / 8 > Number.MAX_SAFE_INTEGER) return undefined;
  }
  return bits % 8 === 0 ? bits / 8 : undefined;
}

/** The tensors must cover the data section exactly: no hole to hide other content in, no overlap, no rest. */
function checkCover(file: string, entries: readonly TensorEntry[], dataBytes: number): void {
  let position = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== position) {
      const message = begin > position ? 'hole before tensor' : 'tensors overlap';
      const details = { expected: `begin ${position}`, found: begin };
      throw invalidFile(file, `tensor ${name}.data_offsets`, message, details);
    }
    position = end;
  }
  if (position !== dataBytes) {
    const message = position > dataBytes ? 'data is cut short' : 'bytes after the last tensor';
    throw invalidFile(file, 'size', message, {
      expected: `${position} bytes of data`,
      found: dataBytes,
    });
  }
}
