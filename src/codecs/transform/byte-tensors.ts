import type { Tensor } from '../../core/codec-parts.js';
import { requireTensor } from '../tensors.js';

export function bytesTensor(data: Uint8Array): Tensor {
  return { dtype: 'U8', shape: [data.length], data };
}

export function halvesTensor(halves: Uint16Array): Tensor {
  const data = new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength).slice();
  return { dtype: 'F16', shape: [halves.length], data };
}

/** The bytes of a tensor of any length. */
export function bytesOf(tensors: ReadonlyMap<string, Tensor>, name: string): Uint8Array {
  return requireTensor(tensors, name, 'U8', [tensors.get(name)?.data.length ?? 0]);
}
