import { float16ToFloat32 } from '../core/half.js';

/** Element types that labels are read from. */
export type FloatDtype = 'F16' | 'BF16' | 'F32' | 'F64';

export const FLOAT_BYTES: Readonly<Record<FloatDtype, number>> = {
  F16: 2,
  BF16: 2,
  F32: 4,
  F64: 8,
};

/**
 * Stored elements as float32. Float64 beyond its range becomes infinite.
 *
 * @param bytes at the start of a buffer of their own, which the result may share; changed if `bigEndian`.
 */
export function floatsOf(bytes: Uint8Array, dtype: FloatDtype, bigEndian = false): Float32Array {
  const { buffer, length } = bytes;
  if (bigEndian) swapBytes(bytes, FLOAT_BYTES[dtype]);
  if (dtype === 'F32') return new Float32Array(buffer, 0, length / 4);
  if (dtype === 'F64') return Float32Array.from(new Float64Array(buffer, 0, length / 8));
  const halves = new Uint16Array(buffer, 0, length / 2);
  const floats = new Float32Array(halves.length);
  if (dtype === 'F16') float16ToFloat32(halves, floats);
  else widenBfloat16(halves, floats);
  return floats;
}

/** A bfloat16 is the upper half of a float32. */
function widenBfloat16(halves: Uint16Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
}

function swapBytes(bytes: Uint8Array, width: number): void {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (width === 2) view.swap16();
  else if (width === 4) view.swap32();
  else view.swap64();
}
