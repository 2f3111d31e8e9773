import type { CodecShape, ShapedTensor, Tensor } from '../core/codec-parts.js';
import type { TensorDtype } from '../core/dtypes.js';
import { float16ToFloat32, float32ToFloat16 } from '../core/half.js';
import { SoftpackError } from '../errors.js';

export function codecShape(
  name: string,
  bitsPerLabel: number,
  tensors: readonly ShapedTensor[] = [],
  sampleTensors: readonly ShapedTensor[] = [],
): CodecShape {
  return { name, bitsPerLabel, tensors, sampleTensors };
}

/** A float32 tensor over a copy of `values`. */
export function float32Tensor(values: Float32Array, shape: readonly number[]): Tensor {
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();
  return { dtype: 'F32', shape, data };
}

/** A float16 tensor of `values`, rounded to nearest. */
export function float16Tensor(values: Float32Array, shape: readonly number[]): Tensor {
  const halves = new Uint16Array(values.length);
  float32ToFloat16(values, halves);
  return { dtype: 'F16', shape, data: new Uint8Array(halves.buffer) };
}

/** Values after rounding to float16; `NON_FINITE` if float16 cannot hold one. */
export function throughFloat16(name: string, values: Float32Array): Float32Array {
  const halves = new Uint16Array(values.length);
  float32ToFloat16(values, halves);
  const out = new Float32Array(values.length);
  float16ToFloat32(halves, out);
  const lost = out.findIndex((value) => !Number.isFinite(value));
  if (lost < 0) return out;
  throw new SoftpackError('NON_FINITE', 'not a value that float16 can hold', {
    field: name,
    found: values[lost],
  });
}

/** The values of a float16 tensor, as {@link readFloat32} reads them. */
export function readFloat16(
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
  shape: readonly number[],
): Float32Array {
  const data = requireTensor(tensors, name, 'F16', shape);
  const values = new Float32Array(data.length / 2);
  float16ToFloat32(new Uint16Array(data.slice().buffer), values);
  return requireFinite(name, values);
}

export function readFloat32(
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
  shape: readonly number[],
): Float32Array;
export function readFloat32(
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
  shape: readonly number[],
  options: { readonly optional: true },
): Float32Array | undefined;
/** The finite float32 values of a codec's tensor; `INVALID_FILE` if it is missing, misshapen or not finite. */
export function readFloat32(
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
  shape: readonly number[],
  options?: { readonly optional: true },
): Float32Array | undefined {
  if (options?.optional && !tensors.has(name)) return undefined;
  const data = requireTensor(tensors, name, 'F32', shape);
  // Tensors of a file may start at any byte; float32 views may not.
  const aligned = data.byteOffset % 4 === 0;
  const values = aligned
    ? new Float32Array(data.buffer, data.byteOffset, data.length / 4)
    : new Float32Array(data.slice().buffer);
  return requireFinite(name, values);
}

/** The bytes of a codec's tensor; `INVALID_FILE` if it is missing or has another dtype or shape. */
export function requireTensor(
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
  dtype: TensorDtype,
  shape: readonly number[],
): Uint8Array {
  const tensor = tensors.get(name);
  const expected = `${dtype} [${shape}]`;
  const found = tensor === undefined ? 'none' : `${tensor.dtype} [${tensor.shape}]`;
  if (tensor !== undefined && found === expected) return tensor.data;
  throw invalidTensor(name, tensor === undefined ? 'missing' : 'wrong shape', expected, found);
}

function requireFinite(name: string, values: Float32Array): Float32Array {
  for (const value of values) {
    if (!Number.isFinite(value)) throw invalidTensor(name, 'not finite', 'finite values', value);
  }
  return values;
}

export function invalidTensor(
  name: string,
  message: string,
  expected: unknown,
  found: unknown,
): SoftpackError {
  return new SoftpackError('INVALID_FILE', message, {
    field: `codec tensor ${name}`,
    expected,
    found,
  });
}
