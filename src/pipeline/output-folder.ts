import { existsSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { makeDirectory } from '../container/durable.js';
import { WriterLock } from '../container/lock.js';

/** The folder of an archive, locked for this run from before its first label is read. */
export class OutputFolder implements AsyncDisposable {
  readonly lock: WriterLock;
  readonly #path: string;
  readonly #own: boolean;

  private constructor(path: string, own: boolean, lock: WriterLock) {
    this.#path = path;
    this.#own = own;
    this.lock = lock;
  }

  /** `own`: of runs alone, so that an empty one is left by a killed run. `LOCKED` if another run writes there. */
  static async open(path: string, { own = !existsSync(path) } = {}): Promise<OutputFolder> {
    await makeDirectory(path);
    return new OutputFolder(path, own, await WriterLock.acquire(path));
  }

  /** A folder that a run made and had no use for is removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.lock.release();
    if (this.#own) await rmdir(this.#path).catch(() => undefined);
  }
}
