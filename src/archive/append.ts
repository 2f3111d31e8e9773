import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOCK_BYTES, sha256 } from '../container/checksum.js';
import {
  makeDirectory,
  NO_FOLLOW,
  removeTemporaries,
  replaceFile,
  writeFully,
} from '../container/durable.js';
import { LOCK_FILE, WriterLock } from '../container/lock.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { onFile } from '../store/file-error.js';
import { localStore } from '../store/local.js';
import { openStore } from '../store/open-store.js';
import { subStore } from '../store/sub-store.js';
import { openArchive } from './archive.js';
import { readManifest, readManifestBytes, recordedFiles, requirePart } from './files.js';
import type { FileRecord } from './identity.js';
import { type Manifest, manifestBytes, parseManifest, withParts } from './manifest.js';
import { allEpochs, isPartFolder, type PartRecord, partFolder } from './parts.js';

/**
 * More epochs for a finished archive, as parts: their files come first, in folders that no manifest lists yet, then a
 * manifest that lists them takes the place of the old one. Nothing that the old one lists ever changes.
 */

export interface AppendOptions {
  /** Bytes copied, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Appends the epochs of a finished archive to another, whose own follow first. The archive stays readable meanwhile, and
 * who has it open goes on with the epochs it had; a killed append leaves it as it was. A signature is of the old
 * manifest: sign anew.
 *
 * @param from a folder, an address (`https://...`) or a store.
 * @throws `INVALID_ARGUMENT` if the archives have other samples, classes, teachers or images, `LOCKED` while something
 *   else writes in the folder, `CORRUPT_DATA` if the copied files are not what their manifest says.
 */
export async function appendArchive(
  directory: string,
  from: string | ByteStore,
  { onProgress, signal }: AppendOptions = {},
): Promise<Manifest> {
  const source = typeof from === 'string' ? await openStore(from) : from;
  await using appending = await Appending.open(directory);
  const more = await additionsOf(source);
  for (const { store, manifest } of more) {
    appending.require(nameIn(store.name, MANIFEST_FILE), manifest);
  }
  const files = await Promise.all(
    more.map(({ store, manifest }) => recordedFiles(store, manifest)),
  );
  const total = files.flat().reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const onBytes = (bytes: number) => {
    done += bytes;
    onProgress?.(done, total);
  };
  for (const [i, { store, bytes }] of more.entries()) {
    const folder = await appending.newFolder();
    for (const record of files[i]) await copyFile(store, record, folder, { onBytes, signal });
    throwIfAborted(signal);
    await replaceFile(join(folder, MANIFEST_FILE), bytes);
    await appending.add();
  }
  // Not the promise: the lock would be given back before the new manifest is in its place.
  return await appending.publish();
}

/** The right to append to an archive. */
export class Appending implements AsyncDisposable {
  readonly manifest: Manifest;
  readonly #directory: string;
  readonly #lock: WriterLock;
  readonly #parts: PartRecord[];

  private constructor(directory: string, lock: WriterLock, manifest: Manifest) {
    this.#directory = directory;
    this.#lock = lock;
    this.manifest = manifest;
    this.#parts = [...(manifest.parts ?? [])];
  }

  /** `LOCKED` while something else writes in the folder; `INCOMPLETE` if there is no finished archive. */
  static async open(directory: string): Promise<Appending> {
    const lock = await WriterLock.acquire(directory);
    try {
      const { manifest } = await readManifest(localStore(directory));
      requireEpochs(directory, manifest);
      return new Appending(directory, lock, manifest);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** `INVALID_ARGUMENT` if the labels do not belong to the archive's samples and classes. */
  require(name: string, more: Manifest): void {
    requirePart(name, this.manifest, more, [0, more.epochs], 'INVALID_ARGUMENT');
  }

  /** The folder of the next part, which is not listed yet. */
  get folder(): string {
    return join(this.#directory, this.#name);
  }

  get #name(): string {
    return partFolder(this.#parts.length + 1);
  }

  /** An empty folder for the next part: without what a killed run left. */
  async newFolder(): Promise<string> {
    await this.discard();
    await makeDirectory(this.folder);
    return this.folder;
  }

  /** Removes what is in the next part's folder. */
  async discard(): Promise<void> {
    const { folder } = this;
    await onFile(folder, () => rm(folder, { recursive: true, force: true }));
  }

  /** Lists the finished archive in {@link folder} as the archive's next part. */
  async add(): Promise<void> {
    await using part = await openArchive(this.folder);
    const bytes = await readManifestBytes(localStore(this.folder));
    this.require(join(this.folder, MANIFEST_FILE), part.manifest);
    const first = allEpochs({ ...this.manifest, parts: this.#parts });
    const epochs = [first, first + part.epochs] as const;
    const record = { bytes: bytes.length, sha256: sha256(bytes) };
    this.#parts.push({ folder: this.#name, epochs, ...record });
  }

  /** Makes the parts that were added the archive's, and removes folders that killed runs left. */
  async publish(): Promise<Manifest> {
    const bytes = manifestBytes(withParts(this.manifest, this.#parts));
    const path = join(this.#directory, MANIFEST_FILE);
    // What no reader would take is not written.
    const manifest = parseManifest(path, bytes);
    await replaceFile(path, bytes);
    await removeTemporaries(this.#directory, [MANIFEST_FILE, LOCK_FILE]);
    const listed = new Set(this.#parts.map(({ folder }) => folder));
    for (const name of await onFile(this.#directory, () => readdir(this.#directory))) {
      if (!isPartFolder(name) || listed.has(name)) continue;
      const left = join(this.#directory, name);
      await onFile(left, () => rm(left, { recursive: true, force: true }));
    }
    return manifest;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#lock.release();
  }
}

function requireEpochs(directory: string, manifest: Manifest): void {
  if (manifest.pruning === undefined) return;
  throw new SoftpackError('UNSUPPORTED', 'rows of a pruned archive are batches', {
    field: directory,
    expected: 'an archive of epochs',
  });
}

interface Addition {
  readonly store: ByteStore;
  readonly manifest: Manifest;
  /** Of the manifest that its part will have. */
  readonly bytes: Uint8Array;
}

/** An archive's own epochs, then those of its parts. */
async function additionsOf(store: ByteStore): Promise<readonly Addition[]> {
  const { manifest } = await readManifest(store);
  requireEpochs(store.name, manifest);
  const { parts = [] } = manifest;
  const own = withParts(manifest, []);
  const bytes = parts.length === 0 ? await readManifestBytes(store) : manifestBytes(own);
  const all: Addition[] = [{ store, manifest: own, bytes }];
  for (const part of parts) {
    const folder = subStore(store, part.folder);
    const { manifest: listed } = await readManifest(folder, part);
    requirePart(nameIn(folder.name, MANIFEST_FILE), manifest, listed, part.epochs);
    all.push({ store: folder, manifest: listed, bytes: await readManifestBytes(folder) });
  }
  return all;
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
    await onFile(path, () => handle.sync());
  } finally {
    await handle.close();
    await from.close();
  }
  const found = hash.digest('hex');
  if (found === expected && from.size === bytes) return;
  const details = { field: `${from.name}: sha256`, expected, found };
  throw new SoftpackError('CORRUPT_DATA', 'not the file of this archive', details);
}
