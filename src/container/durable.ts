import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { errorCode } from '../errors.js';
import { fileError, onFile } from '../store/file-error.js';
import { syncFile } from '../store/sync-file.js';

/** One `write` of the file system stays below the 2 GiB that Linux moves at most. */
const MAX_WRITE = 1 << 30;

/** Never write through a link that somebody planted under our name. Windows has no such flag. */
export const NO_FOLLOW = constants.O_NOFOLLOW ?? 0;

/** Writes all bytes at a position; a write of the file system may be short. */
export async function writeFully(
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(bytes.length - done, MAX_WRITE);
    const { bytesWritten } = await handle.write(bytes, done, length, position + done);
    done += bytesWritten;
  }
}

/** File systems without durable directories (network shares, FUSE, Windows) answer with one of these. */
const CANNOT_SYNC = new Set([
  'EINVAL',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EISDIR',
  'EPERM',
  'EBADF',
]);

/** Makes the directory's entries (links, renames, removals) survive a power cut, if the system supports it. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r');
    try {
      await syncFile(handle);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (!CANNOT_SYNC.has(errorCode(cause) ?? '')) throw fileError(path, cause);
  }
}

/** Creates a folder with its parents, durably; does nothing if it exists. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await onFile(path, () => mkdir(path, { recursive: true }));
  if (first !== undefined) await syncDirectory(dirname(resolve(first)));
}

const SUFFIX = /^\.tmp-[0-9a-f]{16}$/;
const TEMPORARY_LENGTH = '.tmp-'.length + 16;

/** A name that nobody can guess, so that no link waits there, and that {@link isTemporaryOf} recognises. */
export function temporaryName(path: string): string {
  return `${path}.tmp-${randomBytes(8).toString('hex')}`;
}

/** Whether a killed {@link replaceFile} of the file `base` left the file `name`. */
export function isTemporaryOf(name: string, base: string): boolean {
  return name.startsWith(base) && SUFFIX.test(name.slice(base.length));
}

/** Whether a name is one of {@link temporaryName}. */
export function isTemporary(name: string): boolean {
  return SUFFIX.test(name.slice(-TEMPORARY_LENGTH));
}

/** Removes the temporary files that killed writers of these files left in a folder; only those not written to for `idleMs`. */
export async function removeTemporaries(
  folder: string,
  bases: readonly string[],
  idleMs = 0,
): Promise<void> {
  for (const name of await onFile(folder, () => readdir(folder))) {
    if (!isTemporary(name) || !bases.some((base) => isTemporaryOf(name, base))) continue;
    const path = join(folder, name);
    if (idleMs > 0 && !(await isIdle(path, idleMs))) continue;
    await onFile(path, () => rm(path, { force: true }));
  }
}

/** Whether a file was not written to for so long; false if it is gone. */
async function isIdle(path: string, ms: number): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > ms;
}

/** Replaces a file as a whole: readers, and a machine that loses power, see the old bytes or the new. */
export function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  return writeTemporary(path, (handle) => writeFully(handle, bytes, 0));
}

/** Writes a file under another name, durably, and gives it its own: in place of what is there. */
export async function writeTemporary(
  path: string,
  write: (handle: FileHandle) => Promise<void>,
): Promise<void> {
  await withTemporary(path, write, (temporary) => rename(temporary, path));
}

/** Writes a file under another name, durably; `publish` gives it its own. */
export async function withTemporary<T>(
  path: string,
  write: (handle: FileHandle) => Promise<void>,
  publish: (temporary: string) => Promise<T>,
): Promise<T> {
  const { temporary, handle } = await createTemporary(path);
  try {
    try {
      await write(handle);
      await syncFile(handle);
    } finally {
      await handle.close();
    }
    const result = await publish(temporary);
    await syncDirectory(dirname(path));
    return result;
  } catch (cause) {
    throw fileError(path, cause);
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** Writes parts one after the other, each while the next one is made. */
export async function writeParts(
  handle: FileHandle,
  parts: AsyncIterable<Uint8Array>,
): Promise<void> {
  let at = 0;
  let writing = Promise.resolve();
  try {
    for await (const part of parts) {
      await writing;
      writing = writeFully(handle, part, at);
      // Its failure is met at the next part, or at the end.
      writing.catch(() => undefined);
      at += part.length;
    }
  } finally {
    await writing;
  }
}

/** Whoever still writes has written since. */
const IDLE_MS = 3_600_000;

/** {@link createTemporary} for a file that no lock guards: what killed writers of it left is removed once it is idle. */
export async function createOutput(
  path: string,
): Promise<{ readonly temporary: string; readonly handle: FileHandle }> {
  const created = await createTemporary(path);
  await removeTemporaries(dirname(path), [basename(path)], IDLE_MS).catch(() => undefined);
  return created;
}

/** A new empty file next to `path`, to be renamed to it once it is whole. */
export async function createTemporary(
  path: string,
): Promise<{ readonly temporary: string; readonly handle: FileHandle }> {
  const temporary = temporaryName(path);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | NO_FOLLOW;
  const handle = await onFile(path, () => open(temporary, flags));
  return { temporary, handle };
}
