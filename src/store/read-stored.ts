import { errorCode, invalidFile } from '../errors.js';
import type { ByteFile, ByteStore, ReadOptions } from './byte-store.js';

/** A whole file of at most `most` bytes, checked before any of it is read; undefined if there is none. */
export async function readStored(
  store: ByteStore,
  key: string,
  most: number,
  options: ReadOptions = {},
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  let file: ByteFile;
  try {
    file = await store.open(key, options);
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
  try {
    if (file.size > most) {
      const details = { expected: `at most ${most} bytes`, found: file.size };
      throw invalidFile(file.name, 'size', 'file is too large', details);
    }
    const bytes = new Uint8Array(file.size);
    await file.read(0, bytes);
    return bytes;
  } finally {
    await file.close();
  }
}
