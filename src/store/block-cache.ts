import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { loadXxh64 } from '../core/xxh64.js';
import { errorCode, errorMessage, SoftpackError } from '../errors.js';
import { BlockLock, waitForLock } from './block-lock.js';
import { type ByteFile, type ReadOptions, requireWithin } from './byte-store.js';
import { CacheSpace, LIMIT_PER_FILE } from './cache-space.js';
import { fileError } from './file-error.js';
import { RequestLimit } from './request-limit.js';
import { SharedTask } from './shared-task.js';

export interface CacheOptions {
  /** Default: `SOFTPACK_CACHE_DIR`, or `softpack/blocks` in the user's cache folder (XDG). */
  readonly folder?: string;
  /** Limit of all blocks together; below 8.4 MB none of 1 MiB is kept, with a warning. Default: `SOFTPACK_CACHE_BYTES`, or 10 GiB; 0 for no cache. */
  readonly bytes?: number;
}

const DEFAULT_BYTES = 10 * 2 ** 30;
const BLOCK_BYTES = 2 ** 20;
/** Blocks of one read at a time: as much as four requests bring. */
const MOST_BLOCKS = 32;
const MAGIC = Buffer.from('softpack block 1');
/** Magic, length as u64 and checksum as u64, little endian. */
const HEADER_BYTES = MAGIC.length + 16;
/** Smaller limits keep no whole block. */
const LEAST_BYTES = LIMIT_PER_FILE * (HEADER_BYTES + BLOCK_BYTES);
/** A block is marked as used once it was not for so long. */
const USED_MS = 1_000;

/** Caches by folder and limit: all stores of a thread fetch a block once. */
const caches = new Map<string, BlockCache>();

/** The cache that the options and the environment ask for, if any. */
export function blockCache(
  options: CacheOptions = {},
  env: NodeJS.ProcessEnv = process.env,
): BlockCache | undefined {
  const { SOFTPACK_CACHE_DIR, SOFTPACK_CACHE_BYTES, XDG_CACHE_HOME } = env;
  const bytes = options.bytes ?? Number(SOFTPACK_CACHE_BYTES || DEFAULT_BYTES);
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not a size in bytes', {
      field: options.bytes === undefined ? 'SOFTPACK_CACHE_BYTES' : 'cache.bytes',
      expected: 'a whole number, 0 for no cache',
      found: options.bytes ?? SOFTPACK_CACHE_BYTES,
    });
  }
  if (bytes === 0) return undefined;
  const folder = resolve(
    options.folder ||
      SOFTPACK_CACHE_DIR ||
      join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'softpack', 'blocks'),
  );
  const key = `${bytes} ${folder}`;
  const known = caches.get(key) ?? new BlockCache(folder, bytes);
  caches.set(key, known);
  return known;
}

/** A block of a version of a file: where it is kept, and what is kept with it. */
interface Block {
  readonly folder: string;
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * Blocks of files of servers in a folder, shared by the threads and processes of a machine. Each is a file of its own with
 * a checksum, complete or absent; one that is damaged is fetched again. A cache that cannot be written is done without.
 */
export class BlockCache {
  readonly #folder: string;
  readonly #space: CacheSpace;
  readonly #tasks = new Map<string, SharedTask<Uint8Array>>();
  #off = false;

  constructor(folder: string, bytes: number) {
    this.#folder = folder;
    if (bytes < LEAST_BYTES) {
      const message = `a cache of ${bytes} bytes keeps no blocks of ${BLOCK_BYTES}: name ${LEAST_BYTES} or more`;
      process.emitWarning(message, { code: 'SOFTPACK_CACHE' });
    }
    this.#space = new CacheSpace(folder, bytes, fileBytesOf);
  }

  /** Removes all that is kept of a version of a file. */
  async forget({ version }: ByteFile): Promise<void> {
    if (version === undefined) return;
    const folder = join(this.#folder, keyOf(version));
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }

  /** The file with its blocks kept; the file itself if nothing tells its versions apart. */
  wrap(file: ByteFile): ByteFile {
    const { version } = file;
    if (version === undefined) return file;
    const key = keyOf(version);
    const read = async (offset: number, into: Uint8Array, options: ReadOptions = {}) => {
      requireWithin(file, offset, into.length);
      if (!options.fresh && file.holds?.(offset, into.length)) return file.read(offset, into);
      const limit = new RequestLimit(MOST_BLOCKS);
      const blocks = this.#blocks(key, file.size, offset, into.length).map((block) =>
        limit.run(async () => {
          if (options.fresh) await rm(block.path, { force: true }).catch(() => undefined);
          const bytes = await this.#block(file, block, options.signal);
          const from = Math.max(offset, block.offset);
          const to = Math.min(offset + into.length, block.offset + block.length);
          into.set(bytes.subarray(from - block.offset, to - block.offset), from - offset);
        }),
      );
      // All have ended before this does: nothing writes into the caller's array after an error.
      for (const result of await Promise.allSettled(blocks)) {
        if (result.status === 'rejected') throw result.reason;
      }
    };
    return {
      ...{ name: file.name, size: file.size, version, read },
      holds: (offset, length) => file.holds?.(offset, length) ?? false,
      close: () => file.close(),
    };
  }

  #blocks(key: string, size: number, offset: number, length: number): readonly Block[] {
    const folder = join(this.#folder, key);
    const first = Math.floor(offset / BLOCK_BYTES);
    const count = length === 0 ? 0 : Math.ceil((offset + length) / BLOCK_BYTES) - first;
    return Array.from({ length: count }, (_, i) => {
      const begin = (first + i) * BLOCK_BYTES;
      const bytes = Math.min(BLOCK_BYTES, size - begin);
      return { folder, path: join(folder, `${first + i}.${bytes}`), offset: begin, length: bytes };
    });
  }

  #block(file: ByteFile, block: Block, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const known = this.#tasks.get(block.path);
    if (known !== undefined && !known.abandoned) return known.join(signal);
    const task = new SharedTask((ending) => this.#find(file, block, ending));
    this.#tasks.set(block.path, task);
    const done = () => {
      if (this.#tasks.get(block.path) === task) this.#tasks.delete(block.path);
    };
    task.result.then(done, done);
    return task.join(signal);
  }

  async #find(file: ByteFile, block: Block, signal: AbortSignal): Promise<Uint8Array> {
    const fetch = async () => {
      const bytes = new Uint8Array(block.length);
      await file.read(block.offset, bytes, { signal });
      return bytes;
    };
    const lockPath = `${block.path}.lock`;
    while (!this.#off) {
      const kept = await this.#read(block);
      if (kept !== undefined) return kept;
      const lock = await this.#lock(block, lockPath);
      if (lock === undefined) {
        if (!this.#off) await waitForLock(lockPath, signal);
        continue;
      }
      try {
        const late = await this.#read(block);
        if (late !== undefined) return late;
        const bytes = await fetch();
        await this.#keep(block, bytes);
        return bytes;
      } finally {
        await lock.release();
      }
    }
    return (await this.#read(block)) ?? fetch();
  }

  /** The right to fetch a block; undefined if another has it, or the folder cannot be written. */
  async #lock(block: Block, path: string): Promise<BlockLock | undefined> {
    try {
      await mkdir(block.folder, { recursive: true, mode: 0o700 });
      return await BlockLock.take(path);
    } catch (cause) {
      // The folder was empty, and another process removed it just now.
      if (errorCode(cause) !== 'ENOENT') this.#giveUp(block.path, cause);
      return undefined;
    }
  }

  /** A block that is kept and whole; one that is not is removed. */
  async #read({ path, length }: Block): Promise<Uint8Array | undefined> {
    const bytes = new Uint8Array(HEADER_BYTES + length);
    try {
      const handle = await open(path, 'r');
      try {
        const { mtimeMs } = await handle.stat();
        let done = 0;
        for (let read = -1; read !== 0 && done < bytes.length; done += read) {
          ({ bytesRead: read } = await handle.read(bytes, done, bytes.length - done, done));
        }
        const data = bytes.subarray(HEADER_BYTES);
        const header = await headerOf(path, data);
        if (done === bytes.length && header.equals(bytes.subarray(0, HEADER_BYTES))) {
          const now = Date.now();
          if (now - mtimeMs > USED_MS) {
            await utimes(path, now / 1000, now / 1000).catch(() => undefined);
          }
          return data;
        }
      } finally {
        await handle.close();
      }
    } catch (cause) {
      if (errorCode(cause) === 'ENOENT') return undefined;
    }
    await rm(path, { force: true }).catch(() => undefined);
    return undefined;
  }

  async #keep({ path, length }: Block, data: Uint8Array): Promise<void> {
    const temporary = `${path}.tmp-${randomBytes(8).toString('hex')}`;
    const bytes = HEADER_BYTES + length;
    let reserved = false;
    try {
      reserved = await this.#space.reserve(bytes);
      if (!reserved) return;
      const header = await headerOf(path, data);
      await writeFile(temporary, Buffer.concat([header, data]), { flag: 'wx', mode: 0o600 });
      await rename(temporary, path);
    } catch (cause) {
      await rm(temporary, { force: true }).catch(() => undefined);
      this.#giveUp(path, cause);
    } finally {
      if (reserved) this.#space.settle(bytes);
    }
  }

  /** Once, and for the rest of the process: what is not kept comes from the server. */
  #giveUp(path: string, cause: unknown): void {
    if (this.#off) return;
    this.#off = true;
    const reason = errorMessage(fileError(path, cause));
    process.emitWarning(`no more blocks are kept in the cache: ${reason}`, {
      code: 'SOFTPACK_CACHE',
    });
  }
}

function keyOf(version: string): string {
  return createHash('sha256').update(version).digest('hex').slice(0, 32);
}

/** Magic, length and a checksum of the bytes and of where they belong. */
async function headerOf(path: string, data: Uint8Array): Promise<Buffer> {
  const xxh64 = await loadXxh64();
  const place = path.split(/[\\/]/).slice(-2).join('/');
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeBigUInt64LE(BigInt(data.length), MAGIC.length);
  header.writeBigUInt64LE(xxh64.hash(data) ^ xxh64.hash(Buffer.from(place)), MAGIC.length + 8);
  return header;
}

/** Bytes of a block's file, whose name ends in the length of its data. */
function fileBytesOf(name: string): number | undefined {
  const [, length] = /^\d+\.(\d+)$/.exec(name) ?? [];
  return length === undefined ? undefined : HEADER_BYTES + Number(length);
}
