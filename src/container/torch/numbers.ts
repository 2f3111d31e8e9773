import { float16ToFloat32 } from '../../core/half.js';
import { NUMBER_BYTES, type NumberType } from './values.js';
import { viewOf } from './zip.js';

const half = new Uint16Array(1);
const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** One little-endian number; 64-bit integers beyond 2^53 are bigints. */
export function readNumber(
  dtype: NumberType,
  view: DataView,
  at: number,
): number | bigint | boolean {
  switch (dtype) {
    case 'F64':
      return view.getFloat64(at, true);
    case 'F32':
      return view.getFloat32(at, true);
    case 'F16':
      half[0] = view.getUint16(at, true);
      float16ToFloat32(half, float);
      return float[0];
    case 'BF16':
      word[0] = view.getUint16(at, true) << 16;
      return float[0];
    case 'I64': {
      const value = view.getBigInt64(at, true);
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
    case 'I32':
      return view.getInt32(at, true);
    case 'I16':
      return view.getInt16(at, true);
    case 'I8':
      return view.getInt8(at);
    case 'U8':
      return view.getUint8(at);
    case 'U16':
      return view.getUint16(at, true);
    case 'BOOL':
      return view.getUint8(at) !== 0;
  }
}

/** Little-endian numbers as float64; booleans as 0 and 1, integers beyond 2^53 rounded. */
export function numbersOf(dtype: NumberType, bytes: Uint8Array): Float64Array {
  const view = viewOf(bytes);
  const size = NUMBER_BYTES[dtype];
  const numbers = new Float64Array(bytes.length / size);
  for (let i = 0; i < numbers.length; i++) numbers[i] = Number(readNumber(dtype, view, i * size));
  return numbers;
}
