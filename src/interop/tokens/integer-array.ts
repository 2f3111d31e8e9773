import { readSafetensorsLayout } from '../../container/safetensors.js';
import { allocate } from '../../core/allocate.js';
import { invalidFile } from '../../errors.js';
import { fortranPlaces, requireTransposable } from '../../labels/fortran-order.js';
import { type NpyIntegers, readNpyIntegers } from '../../labels/npy.js';
import { choose, npyFileOf } from '../../labels/stored-array.js';
import type { ByteFile } from '../../store/byte-store.js';

/** Integers of a file, read by position: ids of a text, lengths of sequences. */
export interface IntegerArray {
  /** For error messages. */
  readonly name: string;
  readonly shape: readonly number[];
  /** `count` integers from `start` on, row-major; those that do not fit 32 bits are -1, which is neither id nor length. */
  read(start: number, count: number): Promise<Int32Array>;
}

/** Stored types, with their bytes. */
const INTEGERS: Readonly<Record<string, number>> = {
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
  U32: 4,
  I32: 4,
  U64: 8,
  I64: 8,
};

/** Where integers lie. */
interface StoredIntegers extends NpyIntegers {
  readonly file: ByteFile;
  readonly name: string;
}

/**
 * Integers of a .npy, .npz or .safetensors file, of any width, byte order and order of axes.
 *
 * @param tensor which one of a file that holds several; default: the only one.
 * @param option that names it, for errors.
 */
export async function readIntegerArray(
  file: ByteFile,
  tensor?: string,
  option = 'tensor',
): Promise<IntegerArray> {
  const stored = await locateIntegers(file, tensor, option);
  const { name, shape } = stored;
  if (!stored.fortranOrder || shape.length === 1) {
    return { name, shape, read: (first, count) => readIntegers(stored, first, count) };
  }
  const values = await inOrder(stored);
  return { name, shape, read: async (first, count) => values.slice(first, first + count) };
}

async function locateIntegers(
  file: ByteFile,
  tensor: string | undefined,
  option: string,
): Promise<StoredIntegers> {
  const npy = await npyFileOf(file, tensor, option);
  if (npy === undefined) return tensorOf(file, tensor, option);
  return { file: npy, name: npy.name, ...(await readNpyIntegers(npy)) };
}

async function tensorOf(
  file: ByteFile,
  tensor: string | undefined,
  option: string,
): Promise<StoredIntegers> {
  const layout = await readSafetensorsLayout(file);
  const entries = [...layout.tensors.values()].filter((entry) =>
    Object.hasOwn(INTEGERS, entry.dtype),
  );
  const { name, dtype, shape, begin } = choose(file.name, entries, tensor, option);
  const order = { bigEndian: false, fortranOrder: false };
  const dataOffset = layout.dataOffset + begin;
  return { file, name: `${file.name}: tensor ${name}`, dtype, shape, ...order, dataOffset };
}

async function readIntegers(
  { file, name, dtype, bigEndian, dataOffset }: StoredIntegers,
  first: number,
  count: number,
): Promise<Int32Array> {
  const each = INTEGERS[dtype];
  const bytes = new Uint8Array(allocate(count * each, name));
  await file.read(dataOffset + first * each, bytes);
  const view = new DataView(bytes.buffer);
  const integer = (_: unknown, i: number) => integerAt(view, dtype, i * each, !bigEndian);
  return Int32Array.from({ length: count }, integer);
}

/** All integers of an array whose first axis is the fastest, row-major. */
async function inOrder(stored: StoredIntegers): Promise<Int32Array> {
  const count = stored.shape.reduce((a, b) => a * b, 1);
  requireTransposable(stored.name, 4 * count);
  const values = await readIntegers(stored, 0, count);
  const out = new Int32Array(count);
  const next = fortranPlaces(stored.shape);
  for (const value of values) out[next()] = value;
  return out;
}

function integerAt(view: DataView, dtype: string, at: number, little: boolean): number {
  switch (dtype) {
    case 'U8':
      return view.getUint8(at);
    case 'I8':
      return view.getInt8(at);
    case 'U16':
      return view.getUint16(at, little);
    case 'I16':
      return view.getInt16(at, little);
    case 'I32':
      return view.getInt32(at, little);
    case 'U32':
      return bounded(view.getUint32(at, little));
    case 'U64':
      return bounded(Number(view.getBigUint64(at, little)));
    default:
      return bounded(Number(view.getBigInt64(at, little)));
  }
}

function bounded(value: number): number {
  return value === (value | 0) ? value : -1;
}

/** All integers of an array of one axis; `INVALID_FILE` for one below `least`. */
export async function allIntegers(array: IntegerArray, least: number): Promise<Int32Array> {
  const { name, shape } = array;
  if (shape.length !== 1) {
    throw invalidFile(name, 'shape', 'not a list', { expected: '[n]', found: `[${shape}]` });
  }
  const values = await array.read(0, shape[0]);
  const wrong = values.findIndex((value) => value < least);
  if (wrong < 0) return values;
  throw invalidFile(name, `[${wrong}]`, 'wrong number', {
    expected: `from ${least} to ${2 ** 31 - 1}`,
    found: values[wrong],
  });
}
