import { errorCode } from '../errors.js';
import type { ByteFile, ByteStore, OpenOptions } from './byte-store.js';

/**
 * Opens a file and reads from it. If what came from a server turns out to be damaged, all of it is asked for again: a
 * cache would keep the damage, which may have happened on the way.
 */
export async function openSound<T>(
  store: ByteStore,
  key: string,
  read: (file: ByteFile) => Promise<T>,
  options: OpenOptions = {},
): Promise<T> {
  const file = await store.open(key, options);
  try {
    return await read(file);
  } catch (error) {
    const damaged = ['INVALID_FILE', 'CORRUPT_DATA'].includes(errorCode(error) ?? '');
    if (!damaged || file.version === undefined) throw error;
    return read(await store.open(key, { fresh: true }));
  }
}
