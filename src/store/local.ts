import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, invalidFile, throwIfAborted } from '../errors.js';
import { type ByteFile, type ByteStore, endsEarly } from './byte-store.js';
import { onFile, onFileSync } from './file-error.js';

/** One `read` of the file system stays below the 2 GiB that Linux moves at most. */
const MAX_READ = 1 << 30;
/** Opening a FIFO without a writer would wait for one; regular files ignore the flag. Windows has neither. */
const READ_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** A folder. Files are opened for each read: nothing to close, no descriptors to run out of. */
export function localStore(folder: string): ByteStore {
  return {
    name: folder,
    list: () => onFile(folder, () => readdir(folder)),
    async open(key) {
      const path = join(folder, key);
      const size = await regularFileSize(path);
      return {
        name: path,
        size,
        async read(offset, into, options) {
          const file = await openLocalFile(path);
          try {
            await file.read(offset, into, options);
          } finally {
            await file.close();
          }
        },
        close: async () => {},
      };
    },
  };
}

/** Size of a regular file in bytes; `NOT_FOUND` if there is none, `INVALID_FILE` if it is something else. */
export async function regularFileSize(path: string): Promise<number> {
  const found = await onFile(path, () => stat(path));
  if (!found.isFile()) throw notRegular(path);
  return found.size;
}

/** {@link regularFileSize} without a thread between. */
export function regularFileSizeSync(path: string): number {
  const found = onFileSync(path, () => statSync(path));
  if (!found.isFile()) throw notRegular(path);
  return found.size;
}

/** Opens a regular file for reading; `NOT_FOUND` if there is none. */
export async function openLocalFile(path: string): Promise<ByteFile> {
  const handle = await onFile(path, () => open(path, READ_FLAGS));
  try {
    return asByteFile(path, handle, await openFileSize(path, handle));
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Size of an open file in bytes; `INVALID_FILE` unless it is a regular one. */
export async function openFileSize(path: string, handle: FileHandle): Promise<number> {
  const found = await onFile(path, () => handle.stat());
  if (!found.isFile()) throw notRegular(path);
  return found.size;
}

/** An open file of this many bytes; closing it closes the handle. */
export function asByteFile(name: string, handle: FileHandle, size: number): ByteFile {
  return {
    name,
    size,
    async read(offset, into, { signal } = {}) {
      let done = 0;
      while (done < into.length) {
        throwIfAborted(signal);
        const length = Math.min(into.length - done, MAX_READ);
        const at = done;
        const { bytesRead } = await onFile(name, () => handle.read(into, at, length, offset + at));
        if (bytesRead === 0) throw endsEarly(name, offset, into.length, done);
        done += bytesRead;
      }
    },
    close: () => onFile(name, () => handle.close()),
  };
}

/** A regular file that one thread reads synchronously: worker threads have nothing else to do meanwhile. */
export interface SyncByteFile extends Disposable {
  read(offset: number, into: Uint8Array): void;
}

/** {@link openLocalFile} for synchronous reads. */
export function openLocalFileSync(path: string): SyncByteFile {
  const descriptor = onFileSync(path, () => openSync(path, READ_FLAGS));
  if (!fstatSync(descriptor).isFile()) {
    closeSync(descriptor);
    throw notRegular(path);
  }
  return {
    read(offset, into) {
      let done = 0;
      while (done < into.length) {
        const length = Math.min(into.length - done, MAX_READ);
        const at = done;
        const read = onFileSync(path, () => readSync(descriptor, into, at, length, offset + at));
        if (read === 0) throw endsEarly(path, offset, into.length, done);
        done += read;
      }
    },
    [Symbol.dispose]: () => closeSync(descriptor),
  };
}

/** A whole file of at most `most` bytes, which is checked before any of it is read. */
export async function readLocalFile(path: string, most: number): Promise<Uint8Array<ArrayBuffer>> {
  const file = await openLocalFile(path);
  try {
    if (file.size > most) {
      const details = { expected: `at most ${most} bytes`, found: file.size };
      throw invalidFile(path, 'size', 'file is too large', details);
    }
    const bytes = new Uint8Array(file.size);
    await file.read(0, bytes);
    return bytes;
  } finally {
    await file.close();
  }
}

/** The first bytes of a file, fewer if it is shorter. */
export async function readHead(path: string, bytes: number): Promise<Uint8Array> {
  const file = await openLocalFile(path);
  try {
    const head = new Uint8Array(Math.min(bytes, file.size));
    await file.read(0, head);
    return head;
  } finally {
    await file.close();
  }
}

/** {@link readLocalFile}, or `undefined` if there is no such file; any other failure is thrown. */
export async function readLocalFileIfAny(
  path: string,
  most: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    return await readLocalFile(path, most);
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}

function notRegular(path: string) {
  return invalidFile(path, 'type', 'not a regular file', { expected: 'a file' });
}
