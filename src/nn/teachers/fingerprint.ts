import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileError, onFile } from '../../store/file-error.js';
import { regularFileSize } from '../../store/local.js';

/** Hex sha256 of one file's bytes. */
export async function fileSha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  // Anything else, such as a FIFO, could be read without end.
  await regularFileSize(path);
  await pipeline(createReadStream(path), hash).catch((cause: unknown) => {
    throw fileError(path, cause);
  });
  return hash.digest('hex');
}

/** Hex sha256 over the lines `name, size, sha256` of the files, in the order of their names. */
export async function filesSha256(folder: string, names: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const name of [...names].sort()) {
    const path = join(folder, name);
    const digest = await fileSha256(path);
    const { size } = await onFile(path, () => stat(path));
    hash.update(`${JSON.stringify([name, size, digest])}\n`);
  }
  return hash.digest('hex');
}
