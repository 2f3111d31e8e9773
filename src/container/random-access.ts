import { type FileHandle, open } from 'node:fs/promises';
import { invalidFile, SoftpackError } from '../errors.js';

/** A file of known size, read by position. Nothing is cached or read ahead. */
export interface RandomAccessFile {
  /** For error messages. */
  readonly name: string;
  readonly bytes: number;
  /** Fills all of `into` (a view over a SharedArrayBuffer will do) from byte `offset` on, or throws. */
  read(offset: number, into: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** One `read` of the file system stays below the 2 GiB that Linux moves at most. */
const MAX_READ = 1 << 30;

/** Opens a regular file; `NOT_FOUND` where there is none. */
export async function openRandomAccess(path: string): Promise<RandomAccessFile> {
  const handle = await open(path, 'r').catch((cause: unknown) => {
    throw asNotFound(path, cause);
  });
  const stat = await handle.stat();
  if (!stat.isFile()) {
    await handle.close();
    throw invalidFile(path, 'type', 'not a regular file', { expected: 'a file' });
  }
  return asRandomAccess(path, handle, stat.size);
}

/** An open file of this many bytes; closing it closes the handle. */
export function asRandomAccess(name: string, handle: FileHandle, bytes: number): RandomAccessFile {
  return {
    name,
    bytes,
    async read(offset, into) {
      let done = 0;
      while (done < into.length) {
        const length = Math.min(into.length - done, MAX_READ);
        const { bytesRead } = await handle.read(into, done, length, offset + done);
        if (bytesRead === 0) {
          const expected = `${into.length} bytes at ${offset}`;
          throw invalidFile(name, 'size', 'file ends early', { expected, found: done });
        }
        done += bytesRead;
      }
    },
    close: () => handle.close(),
  };
}

/** `NOT_FOUND` where the system says that a path does not exist; any other failure unchanged. */
export function asNotFound(path: string, cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code !== 'ENOENT' && code !== 'ENOTDIR') return cause;
  return new SoftpackError('NOT_FOUND', 'no such file', { field: path, cause });
}
