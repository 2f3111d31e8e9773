import { readFile } from 'node:fs/promises';
import { float16ToFloat32 } from '#src/core/half.js';
import { SoftpackError } from '#src/errors.js';

/** A matrix or vector of a model, as float32, whatever it was stored as. */
export interface GgufTensor {
  /** The slowest dimension first. */
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** A model's file (GGUF, version 2 or 3): what is told of it, and its tensors. */
export interface Gguf {
  number(name: string): number;
  tensor(name: string): GgufTensor;
}

type Value = number | bigint | string | boolean | readonly Value[];

interface Entry {
  readonly shape: readonly number[];
  readonly type: number;
  readonly offset: number;
}

/** Elements of a block, its bytes, and how it becomes numbers. */
interface Layout {
  readonly elements: number;
  readonly bytes: number;
  readonly read: (block: DataView, out: Float32Array) => void;
}

const ALIGNMENT = 32;
const BLOCK = 32;

/** Reads a model. Types of tensors: F32, F16, Q4_0, Q4_1, Q8_0. */
export async function readGguf(path: string): Promise<Gguf> {
  const bytes = await readFile(path);
  const reader = new Reader(path, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (reader.text(4) !== 'GGUF') throw strange(path, 'GGUF', 'another file');
  const version = reader.u32();
  if (version !== 2 && version !== 3) throw strange(path, 'version 2 or 3', version);
  const [tensors, facts] = [reader.u64(), reader.u64()];
  const known = new Map<string, Value>();
  for (let i = 0; i < facts; i++) known.set(reader.string(), reader.value(reader.u32()));
  const entries = new Map<string, Entry>();
  for (let i = 0; i < tensors; i++) {
    const name = reader.string();
    const shape = Array.from({ length: reader.u32() }, () => reader.u64()).reverse();
    entries.set(name, { shape, type: reader.u32(), offset: reader.u64() });
  }
  const alignment = Number(known.get('general.alignment') ?? ALIGNMENT);
  const start = Math.ceil(reader.at / alignment) * alignment;
  return {
    number(name) {
      const value = known.get(name);
      if (typeof value !== 'number') throw strange(path, `a number ${name}`, value);
      return value;
    },
    tensor(name) {
      const entry = entries.get(name);
      if (entry === undefined) throw strange(path, `a tensor ${name}`, 'none');
      const layout = LAYOUTS.get(entry.type);
      if (layout === undefined) throw strange(`${path}: ${name}`, 'F32 to Q8_0', entry.type);
      const count = entry.shape.reduce((product, n) => product * n, 1);
      const from = start + entry.offset;
      const end = from + Math.ceil(count / layout.elements) * layout.bytes;
      if (!(end <= bytes.length)) throw strange(`${path}: ${name}`, `${end} bytes`, bytes.length);
      return { shape: entry.shape, values: valuesOf(bytes, from, count, layout) };
    },
  };
}

function valuesOf(
  bytes: Uint8Array,
  start: number,
  count: number,
  { elements, bytes: size, read }: Layout,
): Float32Array {
  const out = new Float32Array(count);
  for (let at = 0, from = start; at < out.length; at += elements, from += size) {
    const block = new DataView(bytes.buffer, bytes.byteOffset + from, size);
    read(block, out.subarray(at, at + elements));
  }
  return out;
}

const half = { bits: new Uint16Array(1), value: new Float32Array(1) };

function float16(block: DataView, at: number): number {
  half.bits[0] = block.getUint16(at, true);
  float16ToFloat32(half.bits, half.value);
  return half.value[0];
}

/** Of 4 bits each: the low ones are the first half of the block, the high ones the second. */
function nibbles(
  block: DataView,
  at: number,
  out: Float32Array,
  value: (code: number) => number,
): void {
  for (let i = 0; i < BLOCK / 2; i++) {
    const byte = block.getUint8(at + i);
    out[i] = value(byte & 15);
    out[i + BLOCK / 2] = value(byte >> 4);
  }
}

/** By ggml's number of the type. */
const LAYOUTS: ReadonlyMap<number, Layout> = new Map([
  [0, { elements: 1, bytes: 4, read: (block, out) => out.fill(block.getFloat32(0, true)) }],
  [1, { elements: 1, bytes: 2, read: (block, out) => out.fill(float16(block, 0)) }],
  [
    2,
    {
      ...{ elements: BLOCK, bytes: 18 },
      read(block, out) {
        const scale = float16(block, 0);
        nibbles(block, 2, out, (code) => scale * (code - 8));
      },
    },
  ],
  [
    3,
    {
      ...{ elements: BLOCK, bytes: 20 },
      read(block, out) {
        const [scale, least] = [float16(block, 0), float16(block, 2)];
        nibbles(block, 4, out, (code) => scale * code + least);
      },
    },
  ],
  [
    8,
    {
      ...{ elements: BLOCK, bytes: 34 },
      read(block, out) {
        const scale = float16(block, 0);
        for (let i = 0; i < BLOCK; i++) out[i] = scale * block.getInt8(2 + i);
      },
    },
  ],
]);

/** Little-endian numbers and strings, one after the other. */
class Reader {
  at = 0;
  readonly #path: string;
  readonly #view: DataView;

  constructor(path: string, view: DataView) {
    this.#path = path;
    this.#view = view;
  }

  text(length: number): string {
    const { buffer, byteOffset } = this.#view;
    const bytes = new Uint8Array(buffer, byteOffset + this.#take(length), length);
    return new TextDecoder().decode(bytes);
  }

  string(): string {
    return this.text(this.u64());
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): number {
    return Number(this.#view.getBigUint64(this.#take(8), true));
  }

  value(type: number): Value {
    const view = this.#view;
    switch (type) {
      case 0:
        return view.getUint8(this.#take(1));
      case 1:
        return view.getInt8(this.#take(1));
      case 2:
        return view.getUint16(this.#take(2), true);
      case 3:
        return view.getInt16(this.#take(2), true);
      case 4:
        return this.u32();
      case 5:
        return view.getInt32(this.#take(4), true);
      case 6:
        return view.getFloat32(this.#take(4), true);
      case 7:
        return view.getUint8(this.#take(1)) !== 0;
      case 8:
        return this.string();
      case 9: {
        const [of, length] = [this.u32(), this.u64()];
        this.#require(length);
        return Array.from({ length }, () => this.value(of));
      }
      case 10:
        return view.getBigUint64(this.#take(8), true);
      case 11:
        return view.getBigInt64(this.#take(8), true);
      case 12:
        return view.getFloat64(this.#take(8), true);
      default:
        throw strange(this.#path, 'a type from 0 to 12', type);
    }
  }

  #take(bytes: number): number {
    this.#require(bytes);
    const { at } = this;
    this.at += bytes;
    return at;
  }

  #require(bytes: number): void {
    const { byteLength } = this.#view;
    if (this.at + bytes <= byteLength) return;
    throw strange(this.#path, `${this.at + bytes} bytes`, byteLength);
  }
}

function strange(field: string, expected: string, found: unknown): SoftpackError {
  return new SoftpackError('INVALID_FILE', 'not a model to read', { field, expected, found });
}
