// What targets of the fuzzer share: the corpus, and files and stores in memory.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { SoftpackError } from '#src/errors.js';

/** Larger ones are opened, not decoded: zeroing their labels would take the time of many inputs. */
export const MOST_CLASSES = 4096;
export const MOST_IMAGES = 4096;

export const corpus = fileURLToPath(new URL('corpus/', import.meta.url));

export function filesIn(folder) {
  return readdirSync(path.join(corpus, folder)).map((name) =>
    readFileSync(path.join(corpus, folder, name)),
  );
}

export function memoryFile(name, bytes) {
  return {
    name,
    size: bytes.length,
    async read(offset, into) {
      if (offset < 0 || offset + into.length > bytes.length) {
        throw new SoftpackError('INVALID_FILE', 'file ends early', { field: `${name}: size` });
      }
      into.set(bytes.subarray(offset, offset + into.length));
    },
    async close() {},
  };
}

export function memoryStore(files) {
  return {
    name: 'archive',
    async open(key) {
      const bytes = files.get(key);
      if (bytes === undefined) throw new SoftpackError('NOT_FOUND', 'no such file', { field: key });
      return memoryFile(`archive/${key}`, bytes);
    },
  };
}
