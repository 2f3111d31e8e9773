import * as zlib from 'node:zlib';
import { requireMemory } from '../../core/allocate.js';
import { optionalPackage } from '../../core/optional-package.js';
import { errorMessage, invalidFile } from '../../errors.js';

/** What is used of fzstd, for versions of Node without Zstandard. */
interface Fzstd {
  decompress(data: Uint8Array, out: Uint8Array): Uint8Array;
}

/** Node has this from 22.15 on. */
interface NodeZstd {
  readonly zstdDecompressSync?: (
    data: Uint8Array,
    options: { readonly maxOutputLength: number },
  ) => Uint8Array;
}

const MAGIC = 0xfd2fb528;

/** Decompresses frames of `bytes` bytes, which the caller has bounded; throws whatever it likes for damaged ones. */
export type Decompress = (data: Uint8Array, bytes: number) => Uint8Array;

/** Zstandard by Node where it has it, else by the package fzstd. */
export async function zstdDecompressor(): Promise<Decompress> {
  const native = (zlib as NodeZstd).zstdDecompressSync;
  if (native !== undefined) {
    return (data, bytes) => native(data, { maxOutputLength: Math.max(1, bytes) });
  }
  const { decompress } = await optionalPackage<Fzstd>('fzstd', 'Zstandard files');
  return (data, bytes) => decompress(data, new Uint8Array(bytes));
}

/**
 * Decompresses one Zstandard frame that states its size, at most `most` bytes: that is checked before anything is
 * allocated.
 */
export async function zstdDecompress(
  file: string,
  field: string,
  data: Uint8Array,
  most: number,
): Promise<Uint8Array> {
  const bytes = contentSize(data);
  if (bytes === undefined || bytes > most) {
    throw invalidFile(file, field, 'not a Zstandard frame that states its size', {
      expected: `at most ${most} bytes`,
      found: bytes ?? Buffer.from(data.subarray(0, 8)).toString('hex'),
    });
  }
  requireMemory(bytes, `${file}: ${field}`);
  const decompress = await zstdDecompressor();
  let out: Uint8Array;
  try {
    out = decompress(data, bytes);
  } catch (cause) {
    throw invalidFile(file, field, 'damaged Zstandard data', { found: errorMessage(cause), cause });
  }
  if (out.length === bytes) return out;
  throw invalidFile(file, field, 'Zstandard frame has another size than it states', {
    expected: bytes,
    found: out.length,
  });
}

/** The size that a frame's header states, if it is a frame and does. */
function contentSize(data: Uint8Array): number | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (data.length < 14 || view.getUint32(0, true) !== MAGIC) return undefined;
  const descriptor = data[4];
  const single = (descriptor & 0x20) !== 0;
  const sizeCode = descriptor >> 6;
  const at = 5 + (single ? 0 : 1) + [0, 1, 2, 4][descriptor & 3];
  if (at + 8 > data.length) return undefined;
  if (sizeCode === 0) return single ? data[at] : undefined;
  if (sizeCode === 1) return view.getUint16(at, true) + 256;
  if (sizeCode === 2) return view.getUint32(at, true);
  return Number(view.getBigUint64(at, true));
}
