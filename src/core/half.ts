import { SoftpackError } from '../errors.js';

/**
 * IEEE 754 half floats as bit patterns in a Uint16Array; JavaScript has no array type for them on Node 20.
 */

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

/** Float32 bit pattern of each of the 65,536 half floats (256 KiB), built on first use. */
let decodeTable: Uint32Array | undefined;

/** Widens half floats to float32: exact for every value; infinities and NaN payloads are kept. */
export function float16ToFloat32(halves: Uint16Array, out: Float32Array): void {
  requireSameLength(halves, out);
  decodeTable ??= buildDecodeTable();
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < halves.length; ++i) bits[i] = decodeTable[halves[i]];
}

/**
 * Rounds float32 to the nearest half float, ties to even. Magnitudes of 65,520 and more become infinity,
 * those up to 2^-25 become zero; NaN stays NaN (quiet, upper payload bits kept).
 */
export function float32ToFloat16(values: Float32Array, out: Uint16Array): void {
  requireSameLength(values, out);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; ++i) out[i] = roundToHalf(bits[i]);
}

/** The bit pattern of `value`, first rounded to float32, as a half float. */
export function toHalf(value: number): number {
  float[0] = value;
  return roundToHalf(floatBits[0]);
}

/** The bit pattern of `value`, first rounded to float32, as bfloat16: to nearest, ties to even; NaN stays NaN. */
export function toBfloat(value: number): number {
  float[0] = value;
  const bits = floatBits[0];
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

function roundToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x1ff);
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // Normal: re-bias the exponent by 112; a carry out of the mantissa moves on to it, up to infinity.
    const halfWay = 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((magnitude + halfWay - 0x38000000) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign;
  // Subnormal, a multiple of 2^-24: shift the whole 24-bit significand, 14 to 24 places.
  const shift = 126 - (magnitude >>> 23);
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const quotient = significand >>> shift;
  const remainder = significand & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const up = remainder > half || (remainder === half && (quotient & 1) === 1);
  return sign | (up ? quotient + 1 : quotient);
}

function buildDecodeTable(): Uint32Array {
  const table = new Uint32Array(65536);
  for (let half = 0; half < 65536; ++half) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 0x1f;
    const mantissa = half & 0x3ff;
    if (exponent === 0x1f) {
      table[half] = sign | 0x7f800000 | (mantissa << 13);
    } else if (exponent === 0) {
      float[0] = mantissa * 2 ** -24;
      table[half] = sign | floatBits[0];
    } else {
      table[half] = sign | ((exponent + 112) << 23) | (mantissa << 13);
    }
  }
  return table;
}

function requireSameLength(input: { length: number }, out: { length: number }): void {
  if (input.length === out.length) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'lengths of input and output differ', {
    field: 'out',
    expected: input.length,
    found: out.length,
  });
}
