import { readSafetensorsLayout } from '../../container/safetensors.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import { hasNpyMagic, readNpyIntegers } from '../../labels/npy.js';
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

/**
 * Integers of a .npy or .safetensors file.
 *
 * @param tensor which one of a safetensors file; default: the only one.
 */
export async function readIntegerArray(file: ByteFile, tensor?: string): Promise<IntegerArray> {
  const start = new Uint8Array(Math.min(6, file.size));
  await file.read(0, start);
  const found = hasNpyMagic(start)
    ? { ...(await readNpyIntegers(file)), name: file.name }
    : await tensorOf(file, tensor);
  const each = INTEGERS[found.dtype];
  return {
    name: found.name,
    shape: found.shape,
    async read(first, count) {
      const bytes = new Uint8Array(count * each);
      await file.read(found.dataOffset + first * each, bytes);
      const view = new DataView(bytes.buffer);
      return Int32Array.from({ length: count }, (_, i) => integerAt(view, found.dtype, i * each));
    },
  };
}

async function tensorOf(file: ByteFile, tensor: string | undefined) {
  const layout = await readSafetensorsLayout(file);
  const entries = [...layout.tensors.values()].filter((entry) =>
    Object.hasOwn(INTEGERS, entry.dtype),
  );
  const chosen =
    tensor === undefined && entries.length === 1
      ? entries[0]
      : entries.find((entry) => entry.name === tensor);
  if (chosen === undefined) {
    const names = entries.map((entry) => entry.name).join(', ');
    throw new SoftpackError('INVALID_ARGUMENT', 'name one array of integers', {
      field: `${file.name}: tensor`,
      expected: names === '' ? 'a file with integers' : `one of ${names}`,
      found: tensor ?? 'no name',
    });
  }
  const { name, dtype, shape, begin } = chosen;
  return {
    ...{ name: `${file.name}: tensor ${name}`, dtype, shape },
    dataOffset: layout.dataOffset + begin,
  };
}

function integerAt(view: DataView, dtype: string, at: number): number {
  switch (dtype) {
    case 'U8':
      return view.getUint8(at);
    case 'I8':
      return view.getInt8(at);
    case 'U16':
      return view.getUint16(at, true);
    case 'I16':
      return view.getInt16(at, true);
    case 'I32':
      return view.getInt32(at, true);
    case 'U32':
      return bounded(view.getUint32(at, true));
    case 'U64':
      return bounded(Number(view.getBigUint64(at, true)));
    default:
      return bounded(Number(view.getBigInt64(at, true)));
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
