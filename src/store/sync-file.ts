import { fsync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';

const syncDescriptor = promisify(fsync);

/**
 * Makes what was written to a file survive a power cut; `data` leaves out what reading it back does not need, such as times.
 *
 * Yarn's Plug'n'Play replaces the files of `node:fs/promises` by its own, which lack these methods.
 */
export async function syncFile(handle: FileHandle, what: 'all' | 'data' = 'all'): Promise<void> {
  if (process.versions.pnp !== undefined) return syncDescriptor(handle.fd);
  return what === 'data' ? handle.datasync() : handle.sync();
}
