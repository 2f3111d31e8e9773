import { readManifestBytes } from '../archive/files.js';
import { repairArchiveFiles } from '../archive/repair.js';
import { WriterLock } from '../container/lock.js';
import { CountingStore, type RepairedFile, type UnrepairedFile } from '../container/repair-file.js';
import { argument } from '../core/check.js';
import { isImagesManifest } from '../images/packed/manifest.js';
import { repairPackedImages } from '../images/packed/repair-images.js';
import type { ByteStore } from '../store/byte-store.js';
import { localStore } from '../store/local.js';
import { openStore } from '../store/open-store.js';
import type { VerifyArchiveOptions } from './verify.js';

export interface RepairReport {
  /** `LabelArchive.id`, or that of packed images. */
  readonly id: string;
  /** Bytes read from the copy, its manifest included. */
  readonly fetched: number;
  readonly repaired: readonly RepairedFile[];
  readonly unrepaired: readonly UnrepairedFile[];
}

/**
 * Restores the damaged files of an archive, or of packed images, to their recorded bytes. Only damaged blocks are read
 * from the copy; small files as a whole.
 *
 * @param from a copy: a folder, an address (`https://...`) or a store.
 * @throws `INVALID_ARGUMENT` with both ids if the copy is of something else, `CORRUPT_DATA` or `INVALID_FILE` if the
 *   own manifest is damaged, `LOCKED` while a writer works in the folder.
 */
export async function repairArchive(
  directory: string,
  from: string | ByteStore,
  { concurrency = 4, onProgress, signal }: VerifyArchiveOptions = {},
): Promise<RepairReport> {
  argument.count(concurrency, 'concurrency', 1, 1024);
  const source = new CountingStore(typeof from === 'string' ? await openStore(from) : from);
  await using _lock = await WriterLock.acquire(directory);
  const manifest = await readManifestBytes(localStore(directory));
  const repair = isImagesManifest(manifest) ? repairPackedImages : repairArchiveFiles;
  const done = await repair(directory, manifest, source, { concurrency, onProgress, signal });
  return { ...done, fetched: source.bytes };
}
