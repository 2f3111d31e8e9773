import { type FileHandle, rename, rm } from 'node:fs/promises';
import { createOutput, writeFully } from '../container/durable.js';
import { excerpt, invalidFile, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { onFile } from '../store/file-error.js';
import { syncFile } from '../store/sync-file.js';
import { FLOAT_BYTES, type FloatDtype } from './elements.js';

/** NumPy's array file: magic, version, header length, a Python dict, then the bare array. */

export interface NpyHeader {
  readonly dtype: FloatDtype;
  readonly bigEndian: boolean;
  /** The first axis is the fastest. */
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
  /** Offset of the array's first byte in the file. */
  readonly dataOffset: number;
}

const MAGIC = '\x93NUMPY';
const MAX_HEADER_BYTES = 1 << 20;
const DTYPES: ReadonlyMap<string, FloatDtype> = new Map([
  ['f2', 'F16'],
  ['f4', 'F32'],
  ['f8', 'F64'],
  // NumPy has no bfloat16: ml_dtypes writes two bytes without a meaning.
  ['V2', 'BF16'],
]);

export function hasNpyMagic(start: Uint8Array): boolean {
  return Buffer.from(start.subarray(0, 6)).toString('latin1') === MAGIC;
}

/**
 * Reads and checks the header of an array of floats. `UNSUPPORTED` for other arrays, `INVALID_FILE` if header and
 * size of the file do not make an array.
 */
export async function readNpyHeader(file: ByteFile): Promise<NpyHeader> {
  const { text, dataOffset } = await readHeaderText(file);
  const fields = parsePythonDict(file.name, text);
  const { dtype, bigEndian } = checkDtype(file.name, fields.get('descr'));
  const { fortranOrder, shape } = parseArray(file, fields, FLOAT_BYTES[dtype], dataOffset);
  return { dtype, bigEndian, fortranOrder, shape, dataOffset };
}

export interface NpyIntegers {
  /** `U8` to `I64`. */
  readonly dtype: string;
  readonly bigEndian: boolean;
  /** Whether the first axis is the fastest. */
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
  readonly dataOffset: number;
}

/** {@link readNpyHeader} for integers. */
export async function readNpyIntegers(file: ByteFile): Promise<NpyIntegers> {
  const { text, dataOffset } = await readHeaderText(file);
  const fields = parsePythonDict(file.name, text);
  const descr = fields.get('descr') ?? 'nothing';
  const [, order, kind, width] = /^([<>|])([iu])([1248])$/.exec(descr) ?? [];
  if (kind === undefined) {
    throw unsupported(file.name, 'descr', 'not an array of integers', 'int8 to uint64', descr);
  }
  return {
    dtype: `${kind.toUpperCase()}${8 * Number(width)}`,
    bigEndian: order === '>',
    ...parseArray(file, fields, Number(width), dataOffset),
    dataOffset,
  };
}

/** Order and shape, of which the file must hold exactly the bytes. */
function parseArray(
  file: ByteFile,
  fields: ReadonlyMap<string, string>,
  width: number,
  dataOffset: number,
): Pick<NpyHeader, 'fortranOrder' | 'shape'> {
  const order = fields.get('fortran_order');
  if (order !== 'False' && order !== 'True') throw badField(file.name, fields, 'fortran_order');
  const shape = parseShape(fields.get('shape'));
  if (shape === undefined) throw badField(file.name, fields, 'shape');
  const bytes = shape.reduce((product, n) => product * n, width);
  if (bytes !== file.size - dataOffset) {
    const message = bytes > file.size - dataOffset ? 'array is cut short' : 'bytes after the array';
    throw invalidFile(file.name, 'size', message, {
      expected: dataOffset + bytes,
      found: file.size,
    });
  }
  return { fortranOrder: order === 'True', shape };
}

async function readHeaderText(file: ByteFile): Promise<{ text: string; dataOffset: number }> {
  const start = new Uint8Array(Math.min(12, file.size));
  await file.read(0, start);
  if (start.length < 12 || !hasNpyMagic(start)) {
    throw invalidFile(file.name, 'magic', 'not a .npy file', {
      expected: JSON.stringify(MAGIC),
      found: Buffer.from(start.subarray(0, 6)).toString('hex'),
    });
  }
  const version = start[6];
  if (version < 1 || version > 3 || start[7] !== 0) {
    throw unsupported(
      file.name,
      'version',
      'unknown version',
      '1.0 to 3.0',
      `${version}.${start[7]}`,
    );
  }
  const view = new DataView(start.buffer);
  const prefix = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const most = Math.min(MAX_HEADER_BYTES, file.size - prefix);
  if (length > most) {
    const details = { expected: `at most ${most}`, found: length };
    throw invalidFile(file.name, 'header length', 'header is too long', details);
  }
  const header = Buffer.alloc(length);
  await file.read(prefix, header);
  return {
    text: header.toString(version === 3 ? 'utf8' : 'latin1'),
    dataOffset: prefix + length,
  };
}

/** One `'key': value` of the dict: a string, a bool, a tuple of integers, or the list of a structured dtype. */
const ENTRY =
  /\s*(['"])(\w+)\1\s*:\s*(?:(['"])([^'"\\]*)\3|(True|False|\([\dL\s,]*\)|\[[^{}]*\]))\s*(?:,\s*|$)/y;

function parsePythonDict(file: string, text: string): ReadonlyMap<string, string> {
  const fail = (found: string) =>
    invalidFile(file, 'header', 'not the header of an array', {
      expected: "{'descr': ..., 'fortran_order': ..., 'shape': ...}",
      found,
    });
  const body = /^\s*\{(.*)\}\s*$/s.exec(text)?.[1];
  if (body === undefined) throw fail(text);
  const fields = new Map<string, string>();
  ENTRY.lastIndex = 0;
  while (ENTRY.lastIndex < body.length) {
    const at = ENTRY.lastIndex;
    const entry = ENTRY.exec(body);
    if (entry === null) throw fail(body.slice(at));
    const [, , key, , string, bare] = entry;
    if (fields.has(key)) throw fail(`${key} twice`);
    fields.set(key, string ?? bare);
  }
  if (fields.size !== 3) throw fail([...fields.keys()].join(', '));
  return fields;
}

function checkDtype(
  file: string,
  descr: string | undefined,
): Pick<NpyHeader, 'dtype' | 'bigEndian'> {
  if (descr === undefined) throw badField(file, new Map(), 'descr');
  const dtype = /^[<>|]/.test(descr) ? DTYPES.get(descr.slice(1)) : undefined;
  if (dtype !== undefined) return { dtype, bigEndian: descr.startsWith('>') };
  const expected = 'float16, bfloat16, float32 or float64';
  if (/O/.test(descr)) throw unsupported(file, 'descr', 'array of Python objects', expected, descr);
  throw unsupported(file, 'descr', 'not an array of floats', expected, descr);
}

/** The integers of a Python tuple, `undefined` if it is none: (), (3,), (3, 4), (3, 4,). */
function parseShape(tuple: string | undefined): number[] | undefined {
  const inside = /^\((.*)\)$/s.exec(tuple ?? '')?.[1].trim();
  if (inside === undefined) return undefined;
  if (inside === '') return [];
  const items = inside.split(',').map((item) => item.trim());
  if (items.length === 1) return undefined;
  if (items.at(-1) === '') items.pop();
  // Python 2 wrote long integers as 3L.
  if (!items.every((item) => /^\d+L?$/.test(item))) return undefined;
  return items.map((item) => Number.parseInt(item, 10));
}

function badField(file: string, fields: ReadonlyMap<string, string>, field: string): SoftpackError {
  const found = fields.get(field) ?? 'nothing';
  return invalidFile(file, `header.${field}`, 'not a valid value', { found });
}

function unsupported(
  file: string,
  field: string,
  message: string,
  expected: string,
  found: string,
) {
  const details = { field: `${file}: ${field}`, expected, found: excerpt(found) };
  return new SoftpackError('UNSUPPORTED', message, details);
}

/**
 * Writes a float32 array of known shape piece by piece, under a temporary name until it is complete: the same bytes
 * as `numpy.save`.
 */
export class NpyWriter implements AsyncDisposable {
  readonly #path: string;
  /** Name of the file until it is complete. */
  readonly #temporary: string;
  readonly #handle: FileHandle;
  readonly #end: number;
  #position: number;
  #open = true;

  private constructor(
    path: string,
    { temporary, handle }: { readonly temporary: string; readonly handle: FileHandle },
    begin: number,
    elements: number,
  ) {
    this.#path = path;
    this.#temporary = temporary;
    this.#handle = handle;
    this.#position = begin;
    this.#end = begin + 4 * elements;
  }

  /** Replaces `path`, once finished. */
  static async create(path: string, shape: readonly number[]): Promise<NpyWriter> {
    const header = npyHeader(shape);
    const file = await createOutput(path);
    const elements = shape.reduce((product, n) => product * n, 1);
    const writer = new NpyWriter(path, file, header.length, elements);
    try {
      await onFile(path, () => writeFully(file.handle, header, 0));
      return writer;
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Appends elements, C order. */
  async write(values: Float32Array): Promise<void> {
    if (this.#position + values.byteLength > this.#end) {
      throw new SoftpackError('INVALID_ARGUMENT', 'more elements than the shape holds', {
        field: 'values',
        expected: `at most ${(this.#end - this.#position) / 4}`,
        found: values.length,
      });
    }
    const at = this.#position;
    this.#position += values.byteLength;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    await onFile(this.#path, () => writeFully(this.#handle, bytes, at));
  }

  /** Puts the file in place. `INCOMPLETE` (and no file) when elements are missing. */
  async finish(): Promise<void> {
    const missing = (this.#end - this.#position) / 4;
    if (missing > 0) {
      await this[Symbol.asyncDispose]();
      const details = { field: this.#path, expected: 'all elements', found: `${missing} missing` };
      throw new SoftpackError('INCOMPLETE', 'array is not whole', details);
    }
    await onFile(this.#path, async () => {
      await syncFile(this.#handle);
      await this.#handle.close();
      await rename(this.#temporary, this.#path);
    });
    this.#open = false;
  }

  /** Drops an unfinished file. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await onFile(this.#path, async () => {
      await this.#handle.close();
      await rm(this.#temporary, { force: true });
    });
  }
}

/** The bytes before the elements of a float32 array in C order. */
export function npyHeader(shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dict = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  // NumPy leaves room for the first axis to grow to 21 digits, then fills up to a multiple of 64 bytes.
  const room = shape.length === 0 ? 0 : 21 - String(shape[0]).length;
  const text = `${dict}${' '.repeat(room)}`;
  const padding = 64 - ((10 + text.length + 1) % 64);
  const header = `${text}${' '.repeat(padding)}\n`;
  const prefix = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, 0, 0]);
  prefix.writeUInt16LE(header.length, 8);
  return Buffer.concat([prefix, Buffer.from(header, 'latin1')]);
}
