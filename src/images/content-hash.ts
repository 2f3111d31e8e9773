import { createHash } from 'node:crypto';
import type { ByteFile } from '../store/byte-store.js';

/** Content up to this size is hashed whole, bytes. */
const WHOLE_BYTES = 8 * 2 ** 20;
const BLOCKS = 512;
const BLOCK_BYTES = 8192;

/**
 * sha256 of a file, or of evenly spaced blocks of a large one, first and last included (4 MiB in all): tells images apart
 * without reading much, but does not prove that a large one is unchanged.
 */
export async function sampledHash(file: ByteFile): Promise<string> {
  const hash = createHash('sha256');
  for (const [begin, end] of sampledRanges(file.size)) {
    const block = new Uint8Array(end - begin);
    await file.read(begin, block);
    hash.update(block);
  }
  return hash.digest('hex');
}

/** {@link sampledHash} of bytes in memory. */
export function sampledHashOf(bytes: Uint8Array): string {
  const hash = createHash('sha256');
  for (const [begin, end] of sampledRanges(bytes.length)) hash.update(bytes.subarray(begin, end));
  return hash.digest('hex');
}

function* sampledRanges(bytes: number): Generator<readonly [number, number]> {
  if (bytes <= WHOLE_BYTES) {
    yield [0, bytes];
    return;
  }
  for (let i = 0; i < BLOCKS; i++) {
    const begin = Math.floor((i * (bytes - BLOCK_BYTES)) / (BLOCKS - 1));
    yield [begin, begin + BLOCK_BYTES];
  }
}
