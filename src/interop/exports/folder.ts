import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  makeDirectory,
  syncDirectory,
  temporaryName,
  writeFully,
} from '../../container/durable.js';
import { errorCode, SoftpackError } from '../../errors.js';
import { onFile } from '../../store/file-error.js';
import { syncFile } from '../../store/sync-file.js';

/**
 * A new folder of files that appears under its name once all of them are written: the scripts that read it count
 * its entries. Nothing that exists is written to.
 */
export class NewFolder implements AsyncDisposable {
  readonly #path: string;
  readonly #temporary: string;
  readonly #folders = new Set<string>();
  #finished = false;
  #bytes = 0;
  #files = 0;

  private constructor(path: string) {
    this.#path = path;
    this.#temporary = temporaryName(path);
  }

  /** `ALREADY_EXISTS` if there is anything but an empty folder. */
  static async create(path: string): Promise<NewFolder> {
    await requireFree(path);
    await makeDirectory(dirname(path));
    const folder = new NewFolder(path);
    await onFile(path, () => mkdir(folder.#temporary));
    return folder;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get files(): number {
    return this.#files;
  }

  /** A new file, `name` with slashes; `ALREADY_EXISTS` if it was written before. */
  async open(name: string): Promise<FileHandle> {
    const parent = dirname(name);
    if (!this.#folders.has(parent)) {
      await onFile(this.#path, () => mkdir(join(this.#temporary, parent), { recursive: true }));
      this.#folders.add(parent);
    }
    this.#files += 1;
    return onFile(join(this.#path, name), () => open(join(this.#temporary, name), 'wx'));
  }

  /** Appends to an open file. */
  async append(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
    await onFile(this.#path, () => writeFully(file, bytes, position));
    this.#bytes += bytes.length;
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    const file = await this.open(name);
    try {
      await this.append(file, bytes, 0);
      await onFile(this.#path, () => syncFile(file));
    } finally {
      await file.close();
    }
  }

  async finish(): Promise<void> {
    await requireFree(this.#path);
    await onFile(this.#path, () => rename(this.#temporary, this.#path));
    this.#finished = true;
    await syncDirectory(dirname(this.#path));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#finished) return;
    await rm(this.#temporary, { recursive: true, force: true }).catch(() => undefined);
  }
}

async function requireFree(path: string): Promise<void> {
  const names = await onFile(path, () => readdir(path)).catch((error: unknown) => {
    if (errorCode(error) === 'NOT_FOUND') return [];
    throw error;
  });
  if (names.length === 0) return;
  throw new SoftpackError('ALREADY_EXISTS', 'folder is not empty', {
    field: path,
    expected: 'a new folder, or an empty one',
    found: names[0],
  });
}
