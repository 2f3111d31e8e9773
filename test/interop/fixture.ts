import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { numbersOf } from '#src/container/torch/numbers.js';
import type { TorchFile } from '#src/container/torch/torch-file.js';
import {
  NumpyArray,
  PickleDict,
  PickleTuple,
  type PickleValue,
  TorchTensor,
} from '#src/container/torch/values.js';
import type { ByteFile } from '#src/store/byte-store.js';

/** Files in the layouts of other projects with their known values, all written by `samples/make_samples.py`. */
export const SAMPLES = join(import.meta.dirname, 'samples');

export const sample = (...names: string[]) => join(SAMPLES, ...names);

export function expectedOf(name: string) {
  return JSON.parse(readFileSync(sample(name, 'expected.json'), 'utf8'));
}

/** Names of all files below a folder that match, relative to it. */
export function filesBelow(folder: string, pattern: RegExp): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((n) => pattern.test(n));
}

/** A file in memory that counts what is read of it. */
export function memoryFile(bytes: Uint8Array, name = 'memory') {
  const reads: (readonly [offset: number, length: number])[] = [];
  const file: ByteFile = {
    name,
    size: bytes.length,
    async read(offset, into) {
      if (offset < 0 || offset + into.length > bytes.length) throw new Error('read outside');
      reads.push([offset, into.length]);
      into.set(bytes.subarray(offset, offset + into.length));
    },
    async close() {},
  };
  return { file, reads };
}

/** Everything that a value holds as nested lists and objects, as Python's `tolist` gives it. */
export async function plain(file: TorchFile, value: PickleValue): Promise<unknown> {
  if (value instanceof TorchTensor || value instanceof NumpyArray) {
    const numbers = numbersOf(value.dtype, await file.read(value));
    const items = value.dtype === 'BOOL' ? Array.from(numbers, (n) => n !== 0) : [...numbers];
    return nested(items, value.shape);
  }
  if (value instanceof PickleTuple) return plain(file, value.items);
  if (Array.isArray(value)) return Promise.all(value.map((item) => plain(file, item)));
  if (value instanceof PickleDict) {
    const entries = [...value].map(async ([key, item]) => [key, await plain(file, item)] as const);
    return Object.fromEntries(await Promise.all(entries));
  }
  return value;
}

function nested(items: readonly unknown[], [length, ...inner]: readonly number[]): unknown {
  if (length === undefined) return items[0];
  const each = items.length / length || 0;
  return Array.from({ length }, (_, i) => nested(items.slice(i * each, (i + 1) * each), inner));
}
