import { existsSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { makeDirectory } from '../container/durable.js';
import { WriterLock } from '../container/lock.js';

/** The folder of an archive, locked for this run from before its first label is read. */
export class OutputFolder implements AsyncDisposable {
  readonly lock: WriterLock;
  readonly #path: string;
  readonly #made: boolean;

  private constructor(path: string, made: boolean, lock: WriterLock) {
    this.#path = path;
    this.#made = made;
    this.lock = lock;
  }

  /** `LOCKED` if another run writes there. */
  static async open(path: string): Promise<OutputFolder> {
    const made = !existsSync(path);
    await makeDirectory(path);
    return new OutputFolder(path, made, await WriterLock.acquire(path));
  }

  /** A folder that this run made and had no use for is removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.lock.release();
    if (this.#made) await rmdir(this.#path).catch(() => undefined);
  }
}
