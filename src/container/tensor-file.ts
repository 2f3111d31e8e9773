import type { Dtype } from '../core/dtypes.js';
import { openLocalFile } from '../store/local.js';
import { replaceFile } from './durable.js';
import { planSafetensors } from './plan.js';
import { PAD_PREFIX, readSafetensorsLayout } from './safetensors.js';

/** A named array; `data` are its little-endian bytes. */
export interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** A small safetensors file, whole in memory: network weights, packed images. */
export interface TensorFile {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Writes a safetensors file in one go, replacing what was there. */
export async function writeTensorFile(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const entries = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const { header, layout } = planSafetensors(entries, metadata);
  const bytes = new Uint8Array(layout.fileBytes);
  bytes.set(header);
  for (const [name, { data }] of tensors) {
    bytes.set(data, layout.dataOffset + (layout.tensors.get(name)?.begin ?? 0));
  }
  await replaceFile(path, bytes);
}

/** Reads and checks a safetensors file; each tensor's bytes are a copy of their own, aligned for any dtype. */
export async function readTensorFile(path: string): Promise<TensorFile> {
  const file = await openLocalFile(path);
  try {
    const layout = await readSafetensorsLayout(file);
    const tensors = new Map<string, StoredTensor>();
    for (const { name, dtype, shape, begin, end } of layout.tensors.values()) {
      if (name.startsWith(PAD_PREFIX)) continue;
      const data = new Uint8Array(end - begin);
      await file.read(layout.dataOffset + begin, data);
      tensors.set(name, { dtype, shape, data });
    }
    return { tensors, metadata: layout.metadata };
  } finally {
    await file.close();
  }
}
