import { createHash } from 'node:crypto';
import type { JsonObject } from '../core/json.js';
import type { ByteFile } from '../store/byte-store.js';

/** Files up to this size are hashed whole, bytes. */
const WHOLE_BYTES = 8 * 2 ** 20;
const BLOCKS = 512;
const BLOCK_BYTES = 8192;

/**
 * Size and sha256 of a file; of a large one the hash of evenly spaced blocks, first and last included (4 MiB in all).
 * Tells one file from another without reading terabytes; it is no proof that a large file is unchanged.
 */
export async function fileFingerprint(file: ByteFile): Promise<JsonObject> {
  const hash = createHash('sha256');
  for (const [begin, end] of sampledRanges(file.size)) {
    const block = new Uint8Array(end - begin);
    await file.read(begin, block);
    hash.update(block);
  }
  return { bytes: file.size, sha256: hash.digest('hex') };
}

/** {@link fileFingerprint} of bytes in memory. */
export function bytesFingerprint(bytes: Uint8Array): JsonObject {
  const hash = createHash('sha256');
  for (const [begin, end] of sampledRanges(bytes.length)) hash.update(bytes.subarray(begin, end));
  return { bytes: bytes.length, sha256: hash.digest('hex') };
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
