import { allocate } from '../../core/allocate.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import { GGUF_TYPES } from './gguf-blocks.js';

/** A matrix or vector of a model, as float32, whatever it was stored as. */
export interface GgufTensor {
  /** The slowest dimension first. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** A model's file (GGUF, version 2 or 3): what is told of it, and its tensors. */
export interface Gguf {
  /** A number that is told of the model; undefined if it is not. */
  fact(name: string): number | undefined;
  /** As {@link fact}, `INVALID_FILE` if there is none. */
  number(name: string): number;
  /** Of the architecture, which names of facts begin with. */
  readonly architecture: string | undefined;
  has(tensor: string): boolean;
  /** The slowest dimension first. */
  shape(tensor: string): readonly number[];
  /** @param rows of the slowest of several dimensions, if it has more. Default: all. */
  tensor(name: string, rows?: number): Promise<GgufTensor>;
}

interface Entry {
  readonly shape: readonly number[];
  readonly type: number;
  /** From the first byte behind facts and entries, aligned. */
  readonly offset: number;
}

const ALIGNMENT = 32;
/** Bytes of facts and entries: vocabularies of 262,144 tokens take some 10 MB. */
const FIRST_HEAD = 2 ** 24;
const MAX_HEAD = 2 ** 28;
/** Elements that are read at a time: whole blocks of all types. */
const PIECE = 2 ** 22;
const MAX_DIMENSIONS = 4;

export function isGguf(start: Uint8Array): boolean {
  return Buffer.from(start.subarray(0, 4)).toString('latin1') === 'GGUF';
}

/** Reads what is told of a model, and where its tensors are. `INVALID_FILE` for other files. */
export async function readGguf(file: ByteFile): Promise<Gguf> {
  const { architecture, numbers, entries, start } = await readHead(file);
  const fact = (name: string) => numbers.get(name);
  const entryOf = (name: string) => {
    const entry = entries.get(name);
    if (entry === undefined) throw strange(file.name, `a tensor ${name}`, 'none');
    return entry;
  };
  return {
    fact,
    number(name) {
      const value = fact(name);
      if (value === undefined) throw strange(file.name, `a number ${name}`, 'none');
      return value;
    },
    architecture,
    has: (name) => entries.has(name),
    shape: (name) => entryOf(name).shape,
    async tensor(name, rows) {
      const entry = entryOf(name);
      const [first, ...rest] = entry.shape;
      // A single dimension is one row, of whole blocks.
      const shape = rest.length === 0 ? entry.shape : [Math.min(rows ?? first, first), ...rest];
      return { shape, values: await readTensor(file, name, { ...entry, shape }, start) };
    },
  };
}

/** @param most bytes to look at: a small part of a large file first. */
async function readHead(file: ByteFile, most = FIRST_HEAD): Promise<GgufHead> {
  const bytes = new Uint8Array(allocate(Math.min(file.size, most), file.name));
  await file.read(0, bytes);
  try {
    return readGgufHead(file.name, bytes);
  } catch (error) {
    if (most >= Math.min(file.size, MAX_HEAD)) throw error;
    return await readHead(file, MAX_HEAD);
  }
}

async function readTensor(
  file: ByteFile,
  name: string,
  { shape, type, offset }: Entry,
  start: number,
): Promise<Float32Array> {
  const field = `${file.name}: tensor ${name}`;
  const layout = GGUF_TYPES.get(type);
  if (layout === undefined) {
    throw new SoftpackError('UNSUPPORTED', 'weights of this type are not read', {
      field,
      expected: [...GGUF_TYPES.values()].map((own) => own.name).join(', '),
      found: `ggml's type ${type}`,
    });
  }
  const { elements, bytes } = layout;
  const count = shape.reduce((product, n) => product * n, 1);
  const size = (count / elements) * bytes;
  const begin = start + offset;
  if (!Number.isSafeInteger(begin + size) || begin + size > file.size || count === 0) {
    throw strange(field, `${shape.join(' x ')} elements in ${file.size} bytes`, 'others');
  }
  const out = new Float32Array(allocate(4 * count, field));
  for (let from = 0; from < count; from += PIECE) {
    const own = Math.min(PIECE, count - from);
    const piece = new Uint8Array((own / elements) * bytes);
    await file.read(begin + (from / elements) * bytes, piece);
    out.set(layout.read(piece), from);
  }
  return out;
}

interface GgufHead {
  readonly numbers: ReadonlyMap<string, number>;
  readonly architecture: string | undefined;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly start: number;
}

function readGgufHead(path: string, bytes: Uint8Array): GgufHead {
  const reader = new Reader(path, bytes);
  if (!isGguf(bytes)) throw strange(path, 'GGUF', 'another file');
  reader.skip(4);
  const version = reader.u32();
  if (version !== 2 && version !== 3) throw strange(path, 'version 2 or 3', version);
  const [tensors, facts] = [reader.u64(), reader.u64()];
  const numbers = new Map<string, number>();
  let architecture: string | undefined;
  for (let i = 0; i < facts; i++) {
    const [name, type] = [reader.string(), reader.u32()];
    if (name === 'general.architecture' && type === STRING) architecture = reader.string();
    else if (NUMBERS.has(type)) numbers.set(name, reader.number(type));
    else reader.skipValue(type);
  }
  const entries = new Map<string, Entry>();
  for (let i = 0; i < tensors; i++) {
    const [name, dimensions] = [reader.string(), reader.u32()];
    if (!(dimensions >= 1 && dimensions <= MAX_DIMENSIONS)) {
      throw strange(`${path}: tensor ${name}`, `1 to ${MAX_DIMENSIONS} dimensions`, dimensions);
    }
    const shape = Array.from({ length: dimensions }, () => reader.u64()).reverse();
    const type = reader.u32();
    // Rows are whole blocks.
    const { elements = 1 } = GGUF_TYPES.get(type) ?? {};
    if (shape[dimensions - 1] % elements !== 0) {
      throw strange(`${path}: tensor ${name}`, `rows of blocks of ${elements}`, shape.join(' x '));
    }
    entries.set(name, { shape, type, offset: reader.u64() });
  }
  const alignment = numbers.get('general.alignment') ?? ALIGNMENT;
  if (!(Number.isInteger(alignment) && alignment > 0)) {
    throw strange(`${path}: general.alignment`, 'a number of bytes', alignment);
  }
  return { numbers, architecture, entries, start: Math.ceil(reader.at / alignment) * alignment };
}

const STRING = 8;
const LIST = 9;
type GetNumber = (view: DataView, at: number) => number;
/** Bytes of numbers of each type and how they are read. */
const NUMBERS: ReadonlyMap<number, readonly [bytes: number, get: GetNumber]> = new Map([
  [0, [1, (view, at) => view.getUint8(at)]],
  [1, [1, (view, at) => view.getInt8(at)]],
  [2, [2, (view, at) => view.getUint16(at, true)]],
  [3, [2, (view, at) => view.getInt16(at, true)]],
  [4, [4, (view, at) => view.getUint32(at, true)]],
  [5, [4, (view, at) => view.getInt32(at, true)]],
  [6, [4, (view, at) => view.getFloat32(at, true)]],
  [7, [1, (view, at) => view.getUint8(at)]],
  [10, [8, (view, at) => Number(view.getBigUint64(at, true))]],
  [11, [8, (view, at) => Number(view.getBigInt64(at, true))]],
  [12, [8, (view, at) => view.getFloat64(at, true)]],
]);

/** Little-endian numbers and strings, one after the other. */
class Reader {
  at = 0;
  readonly #path: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(path: string, bytes: Uint8Array) {
    this.#path = path;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  string(): string {
    const length = this.u64();
    const at = this.skip(length);
    return new TextDecoder().decode(this.#bytes.subarray(at, at + length));
  }

  u32(): number {
    return this.#view.getUint32(this.skip(4), true);
  }

  u64(): number {
    return Number(this.#view.getBigUint64(this.skip(8), true));
  }

  number(type: number): number {
    const [bytes, get] = NUMBERS.get(type) ?? [0, () => Number.NaN];
    return get(this.#view, this.skip(bytes));
  }

  skipValue(type: number): void {
    const [bytes] = NUMBERS.get(type) ?? [];
    if (bytes !== undefined) this.skip(bytes);
    else if (type === STRING) this.skip(this.u64());
    else if (type === LIST) this.#skipList();
    else throw strange(this.#path, 'a type from 0 to 12', type);
  }

  /** Of numbers or strings: no model has lists of lists. */
  #skipList(): void {
    const [type, length] = [this.u32(), this.u64()];
    const [bytes] = NUMBERS.get(type) ?? [];
    if (bytes !== undefined) this.skip(bytes * length);
    else if (type !== STRING) throw strange(this.#path, 'a list of numbers or strings', type);
    else for (let i = 0; i < length; i++) this.skip(this.u64());
  }

  /** Passes over bytes; returns where they begin. */
  skip(bytes: number): number {
    const { at } = this;
    if (at + bytes > this.#bytes.length) {
      throw strange(this.#path, `${at + bytes} bytes`, this.#bytes.length);
    }
    this.at += bytes;
    return at;
  }
}

function strange(file: string, expected: string, found: unknown): SoftpackError {
  return invalidFile(file, 'GGUF', 'not a model to read', { expected, found });
}
