import { readdir, rm, rmdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

/** The size of a block cache, and what it throws away. */

/** A disk is never filled up: so much stays free for others. */
const RESERVE_BYTES = 2 ** 30;
/** What killed writers left is removed after this time. */
const LEFTOVER_MS = 3_600_000;

interface CachedFile {
  readonly path: string;
  readonly bytes: number;
}

/** The limit of a cache over the largest file that it keeps: evictions below would leave next to nothing. */
export const LIMIT_PER_FILE = 8;

/**
 * Keeps a folder of blocks below its limit. Every process counts what it writes and looks at the whole folder after each
 * 1/256 of the limit, so that 16 processes stay below it together; eviction ends at 7/8.
 */
export class CacheSpace {
  readonly #folder: string;
  readonly #limit: number;
  readonly #sizeOf: (name: string) => number | undefined;
  #allowance = 0;
  /** Reserved, and perhaps not written yet. */
  #pending = 0;
  #looking: Promise<boolean> | undefined;

  /** @param sizeOf bytes of a block's file by its name; undefined for other files. */
  constructor(folder: string, limit: number, sizeOf: (name: string) => number | undefined) {
    this.#folder = folder;
    this.#limit = limit;
    this.#sizeOf = sizeOf;
  }

  /** Makes room for a file; false if there is none to be had. To be followed by `settle` once it is written. */
  async reserve(bytes: number): Promise<boolean> {
    if (LIMIT_PER_FILE * bytes > this.#limit) return false;
    while (this.#allowance < bytes) {
      this.#looking ??= this.#lookAround(bytes).finally(() => {
        this.#looking = undefined;
      });
      if (!(await this.#looking)) return false;
    }
    this.#allowance -= bytes;
    this.#pending += bytes;
    return true;
  }

  settle(bytes: number): void {
    this.#pending -= bytes;
  }

  async #lookAround(bytes: number): Promise<boolean> {
    const files = await this.#files();
    const total = files.reduce((sum, file) => sum + file.bytes, 0) + this.#pending;
    const { bavail, bsize } = await statfs(this.#folder);
    const most = Math.min(this.#limit, total + bavail * bsize - RESERVE_BYTES);
    const step = Math.max(bytes, Math.floor(this.#limit / 256));
    const full = total + step > (most * 15) / 16;
    const left = full ? await evict(files, total, (most * 7) / 8 - step) : total;
    if (left + step > most) return false;
    this.#allowance = step;
    return true;
  }

  async #files(): Promise<readonly CachedFile[]> {
    const files: CachedFile[] = [];
    for (const entry of await readdir(this.#folder, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      const folder = join(this.#folder, entry.name);
      const names = await readdir(folder).catch(() => []);
      for (const name of names) {
        const bytes = this.#sizeOf(name);
        const path = join(folder, name);
        if (bytes !== undefined) files.push({ path, bytes });
        else await removeLeftover(path);
      }
      // Fails, as it should, unless it is empty; whoever is about to write into it makes it again.
      if (names.length === 0) await rmdir(folder).catch(() => undefined);
    }
    return files;
  }
}

/** Removes the least recently used files until at most `target` bytes are left, and returns what is. */
async function evict(files: readonly CachedFile[], total: number, target: number): Promise<number> {
  const used = await Promise.all(
    files.map(async (file) => {
      const found = await stat(file.path).catch(() => undefined);
      return { ...file, at: found?.mtimeMs ?? 0 };
    }),
  );
  let left = total;
  for (const { path, bytes } of used.sort((a, b) => a.at - b.at)) {
    if (left <= target) break;
    await rm(path, { force: true });
    left -= bytes;
  }
  return left;
}

async function removeLeftover(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || Date.now() - found.mtimeMs < LEFTOVER_MS) return;
  await rm(path, { force: true }).catch(() => undefined);
}
