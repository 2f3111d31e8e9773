/** Eight-bit floats, as FP8 caches of activations store them. */
export type Float8 = 'F8_E4M3' | 'F8_E5M2';

const tables = new Map<Float8, Float32Array>();

/** Float32 of every byte: exact. E4M3 is the kind without infinities ("fn"). */
export function float8Table(dtype: Float8): Float32Array {
  const known = tables.get(dtype);
  if (known !== undefined) return known;
  const table = Float32Array.from({ length: 256 }, (_, byte) =>
    dtype === 'F8_E4M3' ? fromE4m3(byte) : fromE5m2(byte),
  );
  tables.set(dtype, table);
  return table;
}

function fromE4m3(byte: number): number {
  const [exponent, mantissa] = [(byte >> 3) & 15, byte & 7];
  if (exponent === 15 && mantissa === 7) return Number.NaN;
  return signed(byte, exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10));
}

function fromE5m2(byte: number): number {
  const [exponent, mantissa] = [(byte >> 2) & 31, byte & 3];
  if (exponent === 31) return mantissa === 0 ? signed(byte, Infinity) : Number.NaN;
  return signed(byte, exponent === 0 ? mantissa * 2 ** -16 : (4 + mantissa) * 2 ** (exponent - 17));
}

function signed(byte: number, magnitude: number): number {
  return byte & 0x80 ? -magnitude : magnitude;
}
