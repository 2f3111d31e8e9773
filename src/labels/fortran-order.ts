import { allocate } from '../core/allocate.js';
import { SoftpackError } from '../errors.js';
import { memoryFile } from '../store/memory-file.js';
import { FLOAT_BYTES, floatsOf } from './elements.js';
import type { StoredArray } from './stored-array.js';

/** Most bytes of an array in Fortran order, as float32: it is held in memory. */
const MAX_TRANSPOSED = 2 ** 32;
const PIECE_ELEMENTS = 2 ** 21;

/**
 * Gives, from call to call, the place in C order of the next element of an array whose first axis is the fastest.
 */
export function fortranPlaces(shape: readonly number[]): () => number {
  const index = shape.map(() => 0);
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  let place = 0;
  return () => {
    const found = place;
    for (let axis = 0; axis < shape.length; axis++) {
      index[axis] += 1;
      place += strides[axis];
      if (index[axis] < shape[axis]) break;
      index[axis] = 0;
      place -= shape[axis] * strides[axis];
    }
    return found;
  };
}

/** All elements of an array whose first axis is the fastest, in C order; `UNSUPPORTED` if they take more than 4 GiB. */
async function readFortranOrder(array: StoredArray): Promise<Float32Array> {
  const { file, dtype, bigEndian, dataOffset, field, shape } = array;
  const count = shape.reduce((a, b) => a * b, 1);
  requireTransposable(field, 4 * count);
  const out = new Float32Array(allocate(4 * count, field));
  const width = FLOAT_BYTES[dtype];
  const next = fortranPlaces(shape);
  for (let first = 0; first < count; first += PIECE_ELEMENTS) {
    const bytes = new Uint8Array(Math.min(PIECE_ELEMENTS, count - first) * width);
    await file.read(dataOffset + first * width, bytes);
    for (const value of floatsOf(bytes, dtype, bigEndian)) out[next()] = value;
  }
  return out;
}

/** An array whose rows lie in one piece each: itself, or in memory if its first axis is the fastest. */
export async function inCOrder(array: StoredArray): Promise<StoredArray> {
  if (!array.fortranOrder) return array;
  const values = await readFortranOrder(array);
  const file = memoryFile(array.file.name, new Uint8Array(values.buffer));
  return { ...array, file, dtype: 'F32', bigEndian: false, fortranOrder: false, dataOffset: 0 };
}

export function requireTransposable(field: string, bytes: number): void {
  if (bytes <= MAX_TRANSPOSED) return;
  throw new SoftpackError(
    'UNSUPPORTED',
    'array in Fortran order is too large: save a C-order copy',
    {
      field,
      expected: `at most ${MAX_TRANSPOSED} bytes, or numpy.ascontiguousarray`,
      found: bytes,
    },
  );
}
