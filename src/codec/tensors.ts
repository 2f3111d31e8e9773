import { SoftpackError } from '../errors.js';
import type { Tensor } from './codec.js';

/** A float32 tensor over a copy of `values`. */
export function float32Tensor(values: Float32Array, shape: readonly number[]): Tensor {
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();
  return { dtype: 'F32', shape, data };
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
/** The finite float32 values of a codec's tensor; `INVALID_FILE` where it is missing, misshapen or not finite. */
export function readFloat32(
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
  shape: readonly number[],
  options?: { readonly optional: true },
): Float32Array | undefined {
  const tensor = tensors.get(name);
  if (tensor === undefined && options?.optional) return undefined;
  const fail = (message: string, expected: unknown, found: unknown): never => {
    throw new SoftpackError('INVALID_FILE', message, {
      field: `codec tensor ${name}`,
      expected,
      found,
    });
  };
  if (tensor === undefined) return fail('missing', `F32 [${shape}]`, 'none');
  const same = tensor.dtype === 'F32' && String(tensor.shape) === String(shape);
  if (!same) fail('wrong shape', `F32 [${shape}]`, `${tensor.dtype} [${tensor.shape}]`);
  const { buffer, byteOffset, byteLength } = tensor.data;
  // Tensors of a file may start at any byte; float32 views may not.
  const aligned = byteOffset % 4 === 0;
  const values = aligned
    ? new Float32Array(buffer, byteOffset, byteLength / 4)
    : new Float32Array(tensor.data.slice().buffer);
  for (const value of values) {
    if (!Number.isFinite(value)) fail('not finite', 'finite values', value);
  }
  return values;
}
