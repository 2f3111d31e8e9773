import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOCK_BYTES } from '../container/checksum.js';
import { NO_FOLLOW, replaceFile, writeFully } from '../container/durable.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { argument } from '../core/check.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { onFile } from '../store/file-error.js';
import { openStore } from '../store/open-store.js';
import { syncFile } from '../store/sync-file.js';
import { type AppendAxis, Appending, type Placed, requireEpochs } from './appending.js';
import type { FileRecord } from './file-record.js';
import { listedParts, readManifest, readManifestBytes, recordedFiles } from './files.js';
import { type Manifest, manifestBytes, withParts } from './manifest.js';
import { partExtents } from './parts.js';

/**
 * More epochs or samples for a finished archive, as parts: their files come first, in folders that no manifest lists yet,
 * then a manifest that lists them takes the place of the old one. Nothing that the old one lists ever changes.
 */

export interface AppendOptions {
  /** Default `epochs`. */
  readonly add?: AppendAxis;
  /** Bytes copied, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Appends the epochs or samples of a finished archive to those of another. The archive stays readable meanwhile, and who
 * has it open goes on with what it had; a killed append leaves it as it was. A signature is of the old manifest: sign
 * again.
 *
 * @param from a folder, an address (`https://...`) or a store.
 * @throws `INVALID_ARGUMENT` if the archives have other classes or teachers, and other samples or images than the epochs
 *   that they follow, or other epochs or temperatures than the samples; `UNSUPPORTED` for samples of an archive whose
 *   views are drawn; `LOCKED` while something else writes in the folder; `CORRUPT_DATA` if the copied files are not what
 *   their manifest says.
 */
export async function appendArchive(
  directory: string,
  from: string | ByteStore,
  { add = 'epochs', onProgress, signal }: AppendOptions = {},
): Promise<Manifest> {
  argument.oneOf(add, 'add', ['epochs', 'samples']);
  const source = typeof from === 'string' ? await openStore(from) : from;
  await using appending = await Appending.open(directory, add);
  const more = await additionsOf(source);
  appending.requireAll(more);
  const files = await Promise.all(
    more.map(({ store, manifest }) => recordedFiles(store, manifest)),
  );
  const total = files.flat().reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const onBytes = (bytes: number) => {
    done += bytes;
    onProgress?.(done, total);
  };
  for (const [i, { store, bytes, extent }] of more.entries()) {
    const folder = await appending.newFolder();
    for (const record of files[i]) await copyFile(store, record, folder, { onBytes, signal });
    throwIfAborted(signal);
    await replaceFile(join(folder, MANIFEST_FILE), bytes);
    await appending.add(extent);
  }
  // Not the promise: the lock would be given back before the new manifest is in its place.
  return await appending.publish();
}

interface Addition extends Placed {
  readonly store: ByteStore;
  /** Of the manifest that its part will have. */
  readonly bytes: Uint8Array;
}

/** An archive's own epochs, then those of its parts. */
async function additionsOf(
  store: ByteStore,
): Promise<readonly [Addition, ...(readonly Addition[])]> {
  const { manifest } = await readManifest(store);
  requireEpochs(store.name, manifest);
  const { parts = [] } = manifest;
  const own = withParts(manifest, []);
  const bytes = parts.length === 0 ? await readManifestBytes(store) : manifestBytes(own);
  const name = nameIn(store.name, MANIFEST_FILE);
  const [extent, ...extents] = partExtents(manifest);
  const others = (await listedParts(store, manifest)).map(async (part, i) => ({
    ...part,
    extent: extents[i],
    name: nameIn(part.store.name, MANIFEST_FILE),
    bytes: await readManifestBytes(part.store),
  }));
  return [{ store, name, manifest: own, bytes, extent }, ...(await Promise.all(others))];
}

interface CopyOptions {
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

/** `CORRUPT_DATA` unless the file is the one that is recorded. */
async function copyFile(
  store: ByteStore,
  { file, bytes, sha256: expected }: FileRecord,
  folder: string,
  { onBytes, signal }: CopyOptions,
): Promise<void> {
  const from = await store.open(file);
  const path = join(folder, file);
  const hash = createHash('sha256');
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | NO_FOLLOW;
  const handle = await onFile(path, () => open(path, flags));
  try {
    const buffer = new Uint8Array(Math.min(BLOCK_BYTES, from.size));
    for (let at = 0; at < from.size; at += buffer.length) {
      throwIfAborted(signal);
      const part = buffer.subarray(0, Math.min(buffer.length, from.size - at));
      await from.read(at, part, { signal, until: from.size });
      hash.update(part);
      await onFile(path, () => writeFully(handle, part, at));
      onBytes(part.length);
    }
    await onFile(path, () => syncFile(handle));
  } finally {
    await handle.close();
    await from.close();
  }
  const found = hash.digest('hex');
  if (found === expected && from.size === bytes) return;
  const details = { field: `${from.name}: sha256`, expected, found };
  throw new SoftpackError('CORRUPT_DATA', 'not the file of this archive', details);
}
