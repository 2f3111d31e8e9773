import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asNotFound, openRandomAccess, type RandomAccessFile } from '../container/random-access.js';

/** Where an archive's files lie. Names are plain file names, already checked. */
export interface ByteSource {
  /** For error messages, e.g. the directory. */
  readonly name: string;
  /** `NOT_FOUND` where there is no such file. */
  stat(file: string): Promise<{ readonly bytes: number }>;
  /** Fills all of `into` (maybe a view over a SharedArrayBuffer) from byte `offset` on, or throws. */
  read(file: string, offset: number, into: Uint8Array): Promise<void>;
}

/** A local directory. Files are opened for each read: nothing to close, no descriptors to run out of. */
export function directorySource(directory: string): ByteSource {
  return {
    name: directory,
    async stat(file) {
      const path = join(directory, file);
      const { size } = await stat(path).catch((cause: unknown) => {
        throw asNotFound(path, cause);
      });
      return { bytes: size };
    },
    async read(file, offset, into) {
      const opened = await openRandomAccess(join(directory, file));
      try {
        await opened.read(offset, into);
      } finally {
        await opened.close();
      }
    },
  };
}

/** One file of a source, as readers of file formats want it. */
export async function sourceFile(source: ByteSource, file: string): Promise<RandomAccessFile> {
  const { bytes } = await source.stat(file);
  return {
    name: join(source.name, file),
    bytes,
    read: (offset, into) => source.read(file, offset, into),
    close: async () => {},
  };
}
