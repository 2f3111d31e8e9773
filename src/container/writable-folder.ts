import { existsSync } from 'node:fs';
import { link, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, SoftpackError, throwIfAborted } from '../errors.js';
import { schemeOf } from '../store/address.js';
import { onFile } from '../store/file-error.js';
import { localStore, openLocalFile } from '../store/local.js';
import type { OpenStoreOptions } from '../store/open-store.js';
import { s3WritableStore } from '../store/s3-writer.js';
import { requireKey, type WritableStore } from '../store/writable-store.js';
import { hashFile } from './checksum.js';
import {
  isTemporary,
  makeDirectory,
  removeTemporaries,
  replaceFile,
  withTemporary,
  writeParts,
  writeTemporary,
} from './durable.js';

/**
 * The store at a path or an address to write to: a folder, which is made with its first file, or a prefix of a bucket
 * (`s3://bucket/prefix`).
 *
 * @throws `UNSUPPORTED` for other addresses: web servers are read only.
 */
export async function openWritableStore(
  to: string,
  { s3 }: Pick<OpenStoreOptions, 's3'> = {},
): Promise<WritableStore> {
  const scheme = schemeOf(to);
  if (scheme === undefined) return writableFolder(to);
  if (scheme === 's3') return s3WritableStore(to, s3);
  throw new SoftpackError('UNSUPPORTED', 'cannot write there', {
    field: 'address',
    expected: 'a path or s3://bucket/prefix',
    found: `${scheme}://`,
  });
}

function writableFolder(folder: string): WritableStore {
  const pathOf = async (key: string): Promise<string> => {
    requireKey(key);
    await makeDirectory(folder);
    return join(folder, key);
  };
  const { name, open } = localStore(folder);
  return {
    ...{ name, open },
    list: (prefix) => namesIn(folder, prefix),
    async put(key, bytes, { signal } = {}) {
      throwIfAborted(signal);
      await replaceFile(await pathOf(key), bytes);
    },
    async putIfAbsent(key, content, { signal } = {}) {
      throwIfAborted(signal);
      const path = await pathOf(key);
      const parts = abortable(Symbol.asyncIterator in content ? content : [content], signal);
      return withTemporary(
        path,
        (handle) => writeParts(handle, parts),
        (temporary) => linkIfAbsent(temporary, path),
      );
    },
    async putParts(key, _size, parts, { signal }) {
      const path = await pathOf(key);
      await writeTemporary(path, (handle) => writeParts(handle, abortable(parts, signal)));
    },
    sweep: (keys) => removeTemporaries(folder, keys),
    sha256Of: (key) => hashIfAny(join(folder, requireKey(key))),
    async delete(key) {
      const path = join(folder, requireKey(key));
      await onFile(path, () => rm(path, { force: true }));
    },
  };
}

async function* abortable(
  parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const part of parts) {
    throwIfAborted(signal);
    yield part;
  }
}

/** Files that are whole: what is being written has another name. */
async function namesIn(folder: string, prefix = ''): Promise<readonly string[]> {
  try {
    const entries = await onFile(folder, () => readdir(folder, { withFileTypes: true }));
    return entries
      .filter((entry) => entry.isFile() && !isTemporary(entry.name))
      .map((entry) => entry.name)
      .filter((name) => name.startsWith(prefix));
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return [];
    throw error;
  }
}

async function hashIfAny(path: string): Promise<string | undefined> {
  let file: Awaited<ReturnType<typeof openLocalFile>>;
  try {
    file = await openLocalFile(path);
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
  try {
    return await hashFile(file);
  } finally {
    await file.close();
  }
}

/** File systems that know no hard links (FAT, some network shares). */
const NO_LINKS: ReadonlySet<string> = new Set([
  'EPERM',
  'ENOSYS',
  'ENOTSUP',
  'EOPNOTSUPP',
  'EMLINK',
]);

async function linkIfAbsent(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (cause) {
    const code = errorCode(cause) ?? '';
    if (code === 'EEXIST') return false;
    // Swept away, as the file is there.
    if (code === 'ENOENT' && existsSync(path)) return false;
    if (!NO_LINKS.has(code)) throw cause;
    const message = 'the file system has no links: writers would overwrite each other';
    throw new SoftpackError('UNSUPPORTED', message, { field: path, cause });
  }
}
