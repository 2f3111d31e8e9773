import { type ByteFile, requireWithin } from './byte-store.js';

/** Bytes in memory as a file. */
export function memoryFile(name: string, content: Uint8Array): ByteFile {
  return {
    name,
    size: content.length,
    async read(offset, into) {
      requireWithin(this, offset, into.length);
      into.set(content.subarray(offset, offset + into.length));
    },
    async close() {},
  };
}
