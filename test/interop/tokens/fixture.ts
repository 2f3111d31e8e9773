import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftpackError } from '#src/errors.js';
import type { TokenLabelFile } from '#src/interop/tokens/label-file.js';
import type { ByteFile, ByteStore } from '#src/store/byte-store.js';
import type { DenseRows, SparseRows, TokenSequence } from '#src/tokens/token-source.js';

export const SAMPLES = join(import.meta.dirname, 'samples');

/** A file in memory that refuses reads beyond its end and counts the largest one. */
export function memoryFile(bytes: Uint8Array, name = 'memory') {
  const stats = { largest: 0 };
  const file: ByteFile = {
    name,
    size: bytes.length,
    async read(offset, into) {
      if (offset < 0 || offset + into.length > bytes.length) throw new Error('read outside');
      stats.largest = Math.max(stats.largest, into.length);
      into.set(bytes.subarray(offset, offset + into.length));
    },
    async close() {},
  };
  return { file, stats };
}

export function memoryStore(files: ReadonlyMap<string, Uint8Array>): ByteStore {
  return {
    name: 'store',
    list: async () => [...files.keys()],
    async open(key) {
      const bytes = files.get(key);
      if (bytes === undefined) throw new SoftpackError('NOT_FOUND', 'no such file', { field: key });
      return memoryFile(bytes, key).file;
    },
  };
}

export async function folderFiles(folder: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const name of await readdir(folder)) files.set(name, await readFile(join(folder, name)));
  return files;
}

export async function all(file: TokenLabelFile): Promise<TokenSequence[]> {
  const found: TokenSequence[] = [];
  for await (const sequence of file.sequences()) found.push(sequence);
  return found;
}

function sparse({ labels }: TokenSequence): SparseRows {
  if (labels.kind === 'sparse') return labels;
  throw new Error('labels are dense');
}

export function dense({ labels }: TokenSequence): DenseRows {
  if (labels.kind !== 'sparse') return labels;
  throw new Error('labels are sparse');
}

/** Ids and log-probabilities of every label. */
export function entriesOf(sequence: TokenSequence) {
  const { offsets, ids, logProbs } = sparse(sequence);
  const rows = Array.from({ length: sequence.rows }, (_, i) => [offsets[i], offsets[i + 1]]);
  return {
    ids: rows.map(([begin, end]) => [...ids.subarray(begin, end)]),
    logProbs: rows.map(([begin, end]) => [...logProbs.subarray(begin, end)]),
  };
}

/** Bytes of a safetensors file, built by hand. */
export function safetensors(
  tensors: readonly (readonly [
    name: string,
    dtype: string,
    shape: readonly number[],
    data: Uint8Array,
  ])[],
): Uint8Array {
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const [name, dtype, shape, data] of tensors) {
    header[name] = { dtype, shape, data_offsets: [at, at + data.length] };
    at += data.length;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...tensors.map(([, , , data]) => data)]);
}

export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** float32 as bfloat16, cut off: exact for the small whole numbers of these tests. */
export function bfloats(values: readonly number[]): Uint8Array {
  const words = new Uint32Array(Float32Array.from(values).buffer);
  return bytesOf(Uint16Array.from(words, (word) => word >>> 16));
}
