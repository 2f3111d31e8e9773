import { type FileHandle, open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import type { JsonValue } from '../core/json.js';
import { errorCode, throwIfAborted } from '../errors.js';
import { asProcessId, isGone, thisProcess } from './process-id.js';

/** A lock whose holder gives no sign of life for so long belongs to a thread that has ended, or to another machine's. */
const SILENT_MS = 10_000;
const SIGN_MS = 2_000;
const MAX_POLL_MS = 100;

/**
 * The right to fetch a block: a file, so that it works among threads and processes. A lock can be taken from a holder that
 * has died; that two then hold it costs a second fetch and nothing else.
 */
export class BlockLock {
  readonly #path: string;
  readonly #signs: NodeJS.Timeout;

  private constructor(path: string) {
    this.#path = path;
    this.#signs = setInterval(() => {
      const now = new Date();
      utimes(path, now, now).catch(() => undefined);
    }, SIGN_MS).unref();
  }

  /** Undefined if somebody holds it. */
  static async take(path: string): Promise<BlockLock | undefined> {
    let handle: FileHandle;
    try {
      handle = await open(path, 'wx', 0o600);
    } catch (cause) {
      if (errorCode(cause) === 'EEXIST') return undefined;
      throw cause;
    }
    const lock = new BlockLock(path);
    try {
      await handle.writeFile(JSON.stringify(thisProcess()));
    } catch (cause) {
      await lock.release();
      throw cause;
    } finally {
      await handle.close();
    }
    return lock;
  }

  async release(): Promise<void> {
    clearInterval(this.#signs);
    await rm(this.#path, { force: true }).catch(() => undefined);
  }
}

/** Returns once nobody holds the lock any more: released, or taken from a holder that died. */
export async function waitForLock(path: string, signal: AbortSignal): Promise<void> {
  let sign = Number.NaN;
  let since = 0;
  for (let wait = 5; ; wait = Math.min(MAX_POLL_MS, 1.5 * wait)) {
    throwIfAborted(signal);
    const found = await stat(path).catch(() => undefined);
    if (found === undefined) return;
    const now = performance.now();
    // By this process's clock: that of a network file system may be another.
    if (found.mtimeMs !== sign) [sign, since] = [found.mtimeMs, now];
    if (now - since > SILENT_MS || (await holderIsGone(path))) {
      await rm(path, { force: true }).catch(() => undefined);
      return;
    }
    await setTimeout(wait);
  }
}

async function holderIsGone(path: string): Promise<boolean> {
  try {
    const holder = asProcessId(JSON.parse(await readFile(path, 'utf8')) as JsonValue);
    return holder !== undefined && isGone(holder);
  } catch {
    // Removed meanwhile, or not yet written.
    return false;
  }
}
