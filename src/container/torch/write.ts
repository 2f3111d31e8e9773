import type { NumberType } from './values.js';
import { NUMBER_BYTES } from './values.js';
import { type StoredEntry, zipOf } from './zip-writer.js';

/** A tensor to write: row-major, little-endian. */
export interface NewTensor {
  readonly dtype: NumberType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** A Python float; plain numbers are written as ints. */
export interface NewFloat {
  readonly float: number;
}

export type NewValue =
  | null
  | boolean
  | number
  | string
  | NewFloat
  | NewTensor
  | readonly NewValue[]
  | ReadonlyMap<string, NewValue>;

/** Types that came after typed storages have untyped ones: bytes, and the type beside them. */
const STORAGE_NAMES: Readonly<Record<Exclude<NumberType, 'U16'>, string>> = {
  F64: 'DoubleStorage',
  F32: 'FloatStorage',
  F16: 'HalfStorage',
  BF16: 'BFloat16Storage',
  I64: 'LongStorage',
  I32: 'IntStorage',
  I16: 'ShortStorage',
  I8: 'CharStorage',
  U8: 'ByteStorage',
  BOOL: 'BoolStorage',
};

/** Folder of the entries, as torch names it when it writes to a stream. */
const FOLDER = 'archive';

/**
 * Bytes of a file that `torch.load` reads, with `weights_only=True` as well. Equal values give equal bytes.
 */
export function torchFileOf(value: NewValue): Uint8Array {
  const storages: Uint8Array[] = [];
  const pickle = new PickleWriter(storages).write(value);
  const entry = (name: string, data: Uint8Array): StoredEntry => ({
    name: `${FOLDER}/${name}`,
    data,
  });
  return zipOf([
    entry('data.pkl', pickle),
    entry('byteorder', Buffer.from('little')),
    ...storages.map((data, key) => entry(`data/${key}`, data)),
    entry('version', Buffer.from('3\n')),
  ]);
}

/** Protocol 2 without a memo: values that occur twice are written twice. */
class PickleWriter {
  readonly #storages: Uint8Array[];
  readonly #parts: Uint8Array[] = [];

  constructor(storages: Uint8Array[]) {
    this.#storages = storages;
  }

  write(value: NewValue): Uint8Array {
    this.#parts.push(Buffer.from([0x80, 2]));
    this.#value(value);
    this.#code('.');
    return Buffer.concat(this.#parts);
  }

  #code(text: string): void {
    this.#parts.push(Buffer.from(text, 'latin1'));
  }

  #value(value: NewValue): void {
    if (value === null) this.#code('N');
    else if (typeof value === 'boolean') this.#code(value ? '\x88' : '\x89');
    else if (typeof value === 'number') this.#integer(value);
    else if (typeof value === 'string') this.#text(value);
    else if (value instanceof Map) this.#dict(value as ReadonlyMap<string, NewValue>);
    else if (Array.isArray(value)) this.#list(value as readonly NewValue[]);
    else if ('float' in value) this.#float(value.float);
    else this.#tensor(value as NewTensor);
  }

  #integer(value: number): void {
    const bytes = Buffer.alloc(5);
    if (value === (value | 0)) {
      bytes.write('J', 'latin1');
      bytes.writeInt32LE(value, 1);
      this.#parts.push(bytes);
      return;
    }
    const long = Buffer.alloc(10);
    long.set([0x8a, 8]);
    long.writeBigInt64LE(BigInt(value), 2);
    this.#parts.push(long);
  }

  #float(value: number): void {
    const bytes = Buffer.alloc(9);
    bytes.write('G', 'latin1');
    bytes.writeDoubleBE(value, 1);
    this.#parts.push(bytes);
  }

  #text(value: string): void {
    const text = Buffer.from(value, 'utf8');
    const head = Buffer.alloc(5);
    head.write('X', 'latin1');
    head.writeUInt32LE(text.length, 1);
    this.#parts.push(head, text);
  }

  #list(items: readonly NewValue[]): void {
    this.#code(']');
    for (const item of items) {
      this.#value(item);
      this.#code('a');
    }
  }

  #dict(entries: ReadonlyMap<string, NewValue>): void {
    this.#code('}');
    for (const [key, value] of entries) {
      this.#text(key);
      this.#value(value);
      this.#code('s');
    }
  }

  #tuple(items: readonly number[]): void {
    this.#code('(');
    for (const item of items) this.#integer(item);
    this.#code('t');
  }

  #tensor({ dtype, shape, data }: NewTensor): void {
    const untyped = dtype === 'U16';
    const count = untyped ? data.length : data.length / NUMBER_BYTES[dtype];
    this.#code(`ctorch._utils\n_rebuild_tensor_v${untyped ? 3 : 2}\n((`);
    this.#text('storage');
    this.#code(untyped ? 'ctorch.storage\nUntypedStorage\n' : `ctorch\n${STORAGE_NAMES[dtype]}\n`);
    this.#text(String(this.#storages.push(data) - 1));
    this.#text('cpu');
    this.#integer(count);
    this.#code('tQ');
    this.#integer(0);
    this.#tuple(shape);
    this.#tuple(shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1)));
    this.#code('\x89ccollections\nOrderedDict\n)R');
    if (untyped) this.#code('ctorch\nuint16\n');
    this.#code('tR');
  }
}
