import { createHash } from 'node:crypto';
import { invalidFile, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';

export { loadXxh64, type Xxh64 } from '../core/xxh64.js';

/** Bytes of the data section that one checksum covers: the unit of verification. */
export const BLOCK_BYTES = 1 << 20;

export function blockCount(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES);
}

/** Reads a file from `begin` to `end` in pieces of at most one block; each piece is overwritten by the next. */
export async function* readBlocks(
  file: ByteFile,
  begin: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(BLOCK_BYTES, end - begin));
  for (let at = begin; at < end; at += BLOCK_BYTES) {
    const block = buffer.subarray(0, Math.min(BLOCK_BYTES, end - at));
    await file.read(at, block, { until: end });
    yield block;
  }
}

export function sha256(...pieces: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

/** sha256 of a whole file, hex. */
export async function hashFile(file: ByteFile): Promise<string> {
  const hash = createHash('sha256');
  for await (const block of readBlocks(file, 0, file.size)) hash.update(block);
  return hash.digest('hex');
}

/** A manifest's record of a file. */
interface Recorded {
  readonly bytes: number;
  readonly sha256: string;
}

export function requireSize(file: ByteFile, { bytes }: Recorded): void {
  if (file.size === bytes) return;
  const details = { expected: `${bytes} bytes`, found: file.size };
  throw invalidFile(file.name, 'size', 'not the file of this archive', details);
}

export function requireSha256(file: ByteFile, recorded: Recorded, found: string): void {
  if (found === recorded.sha256) return;
  throw new SoftpackError('CORRUPT_DATA', 'file was changed after it was written', {
    field: `${file.name}: sha256`,
    expected: recorded.sha256,
    found,
  });
}
