import { constants, realpathSync } from 'node:fs';
import { link, open, rename, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseJson } from '../core/json.js';
import { errorCode, SoftpackError } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { readLocalFile } from '../store/local.js';
import { asProcessId, isGone, type ProcessId, thisProcess } from '../store/process-id.js';
import { NO_FOLLOW, temporaryName } from './durable.js';

/** Exists while a writer works in a folder. */
export const LOCK_FILE = 'writer.lock';
const MAX_LOCK_BYTES = 4096;
/** Reads of a lock without valid content, and milliseconds between them. */
const MAX_TRIES = 4;
const TRY_INTERVAL = 50;

/** Folders that this process holds locks of: its own earlier locks are stale if they are not among these. */
const held = new Set<string>();

/** The right to write in a folder, given back by `release`. A killed process leaves a stale lock, which is taken over. */
export class WriterLock implements AsyncDisposable {
  readonly #folder: string;
  readonly #key: string;
  #released = false;

  private constructor(folder: string, key: string) {
    this.#folder = folder;
    this.#key = key;
  }

  /** `LOCKED` naming process and host if a running process writes in this folder, which must exist. */
  static async acquire(folder: string): Promise<WriterLock> {
    const key = keyOf(folder);
    if (held.has(key)) throw locked(folder, thisProcess());
    held.add(key);
    try {
      while (!(await takeLock(folder))) await removeStale(folder);
      return new WriterLock(folder, key);
    } catch (error) {
      held.delete(key);
      throw error;
    }
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    held.delete(this.#key);
    // A lock that cannot be removed is stale for this process at once and for others when this one ends.
    await rm(join(this.#folder, LOCK_FILE), { force: true }).catch(() => undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

/** `LOCKED` if a running process writes in this folder: for callers with long work to do before they write. */
export async function requireUnlocked(folder: string): Promise<void> {
  if (held.has(keyOf(folder))) throw locked(folder, thisProcess());
  const holder = await lockHolder(folder);
  if (holder !== undefined && !isStale(holder)) throw locked(folder, holder);
}

/** One folder has one key, by whatever path it is named. */
function keyOf(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return resolve(folder);
  }
}

/** Creates the lock in one step, whole: `false` if there is one. */
async function takeLock(folder: string): Promise<boolean> {
  const path = join(folder, LOCK_FILE);
  const temporary = temporaryName(path);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | NO_FOLLOW;
  return onFile(path, async () => {
    const handle = await open(temporary, flags);
    try {
      await handle.writeFile(`${JSON.stringify(thisProcess())}\n`);
    } finally {
      await handle.close();
    }
    try {
      await link(temporary, path);
      return true;
    } catch (cause) {
      const code = errorCode(cause);
      if (code === 'EEXIST') return false;
      if (code === 'ENOENT') throw cause;
      // A file system without hard links: the lock is there at once, its content a moment later.
      return await createLock(path);
    } finally {
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  });
}

async function createLock(path: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx');
    try {
      await handle.writeFile(`${JSON.stringify(thisProcess())}\n`);
    } finally {
      await handle.close();
    }
    return true;
  } catch (cause) {
    if (errorCode(cause) === 'EEXIST') return false;
    throw cause;
  }
}

/** Puts a dead process's lock out of the way; `LOCKED` if the process may be running. */
async function removeStale(folder: string): Promise<void> {
  const holder = await lockHolder(folder);
  if (holder === undefined) return;
  if (!isStale(holder)) throw locked(folder, holder);
  const path = join(folder, LOCK_FILE);
  const aside = temporaryName(path);
  try {
    await rename(path, aside);
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT') return;
    throw cause;
  }
  // Another process may have been faster: the file put aside is then its new lock, which is restored.
  const moved = await readHolder(aside);
  if (moved !== undefined && !isStale(moved)) await link(aside, path).catch(() => undefined);
  await rm(aside, { force: true });
}

/** Reads it again for a moment if it is not valid: without hard links, its content comes after its name. */
async function lockHolder(folder: string): Promise<ProcessId | undefined> {
  for (let tries = 0; ; tries++) {
    const holder = await readHolder(join(folder, LOCK_FILE));
    if (holder === undefined || holder.pid > 0 || tries === MAX_TRIES) return holder;
    await setTimeout(TRY_INTERVAL);
  }
}

/** `undefined` if there is no lock. One without valid content belongs to a process that died while it made it. */
async function readHolder(path: string): Promise<ProcessId | undefined> {
  try {
    const json = parseJson(path, 'lock', await readLocalFile(path, MAX_LOCK_BYTES));
    const holder = asProcessId(json);
    if (holder !== undefined) return holder;
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    if (errorCode(error) !== 'INVALID_FILE') throw error;
  }
  return { pid: 0, host: hostname(), started: '' };
}

/** Processes of another host cannot be asked: their locks never count as stale. */
function isStale(holder: ProcessId): boolean {
  const { pid, host, started } = thisProcess();
  const own = holder.pid === pid && holder.host === host && holder.started === started;
  return own || isGone(holder);
}

function locked(folder: string, { pid, host }: ProcessId): SoftpackError {
  return new SoftpackError('LOCKED', 'another process is writing here', {
    field: folder,
    expected: `no writer; wait for it, or remove ${LOCK_FILE} if that process is gone`,
    found: `process ${pid} on ${host}`,
  });
}
