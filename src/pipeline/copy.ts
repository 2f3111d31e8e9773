import { createHash } from 'node:crypto';
import { archiveDigest, readManifestBytes, recordedFolders } from '../archive/files.js';
import { parseManifest } from '../archive/manifest.js';
import { makeDirectory } from '../container/durable.js';
import { LOCK_FILE, WriterLock } from '../container/lock.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../container/shard-file.js';
import { SIGNATURE_FILE } from '../container/signature.js';
import { openWritableStore } from '../container/writable-folder.js';
import { inLanes } from '../core/lanes.js';
import { excerpt, SoftpackError, throwIfAborted } from '../errors.js';
import { isImagesManifest, parseImagesManifest } from '../images/packed/manifest.js';
import { nameIn, schemeOf } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { type OpenStoreOptions, openStore } from '../store/open-store.js';
import { readStored } from '../store/read-stored.js';
import { PART_BYTES, type WritableStore } from '../store/writable-store.js';

export interface CopyOptions extends Pick<OpenStoreOptions, 'http' | 's3'> {
  /** Bytes that are there, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface CopyResult {
  /** `LabelArchive.id`, or that of packed images. */
  readonly id: string;
  readonly files: number;
  readonly bytes: number;
  /** Bytes that this run wrote; the others were there. */
  readonly copied: number;
}

/** Files copied at a time; each has up to five parts in memory. */
const FILES_AT_ONCE = 2;
const SIGNATURE_BYTES = 64;

interface RecordedFile {
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Files of the archive's own folder, or of a part's. */
interface Folder {
  readonly folder?: string;
  readonly store: ByteStore;
  readonly files: readonly RecordedFile[];
}

/**
 * Copies a finished archive, or packed images, to a folder or into a bucket (`s3://bucket/prefix`). Every file is compared
 * with its recorded hash on the way and appears as a whole; the manifest comes last. An interrupted copy is resumed.
 *
 * @param from a folder or an address.
 * @throws `ALREADY_EXISTS` if something else is there, `CORRUPT_DATA` naming the file if the source is damaged,
 *   `UNSUPPORTED` for a web server as the destination.
 */
export async function copyArchive(
  from: string | ByteStore,
  to: string,
  { http, s3, onProgress, signal }: CopyOptions = {},
): Promise<CopyResult> {
  const source =
    typeof from === 'string' ? await openStore(from, { http, s3, cache: false }) : from;
  const target = await openWritableStore(to, { s3 });
  const manifest = await readManifestBytes(source);
  const { id, folders } = await contentOf(source, manifest);
  await using _lock = schemeOf(to) === undefined ? await lockFolder(to) : undefined;
  const records = folders.flatMap(({ files }) => files);
  const total = records.reduce((sum, { bytes }) => sum + bytes, manifest.length);
  let [done, copied] = [0, 0];
  for (const { folder, store, files } of folders) {
    const into =
      folder === undefined ? target : await openWritableStore(nameIn(to, folder), { s3 });
    const there =
      folder === undefined ? await requireFree(into, manifest, files) : new Set(await into.list());
    const copy = async (record: RecordedFile) => {
      throwIfAborted(signal);
      const { file, bytes, sha256 } = record;
      if (!there.has(file) || (await into.sha256Of(file, { signal })) !== sha256) {
        await copyFile(store, into, record, signal);
        copied += bytes;
      }
      done += bytes;
      onProgress?.(done, total);
    };
    const [last] = folder === undefined ? [] : files.slice(-1);
    const others = files.filter((record) => record !== last);
    await inLanes(others.length, FILES_AT_ONCE, (i) => copy(others[i]));
    // A part's manifest, which says that the part is whole.
    if (last !== undefined) await copy(last);
  }
  const signature = await readStored(source, SIGNATURE_FILE, SIGNATURE_BYTES);
  if (signature !== undefined) await target.put(SIGNATURE_FILE, signature, { signal });
  await target.put(MANIFEST_FILE, manifest, { signal });
  onProgress?.(total, total);
  return { id, files: records.length + 1, bytes: total, copied: copied + manifest.length };
}

async function contentOf(
  source: ByteStore,
  bytes: Uint8Array,
): Promise<{ readonly id: string; readonly folders: readonly Folder[] }> {
  const name = nameIn(source.name, MANIFEST_FILE);
  if (isImagesManifest(bytes)) {
    const { imagesId, shards } = parseImagesManifest(name, bytes);
    return { id: imagesId, folders: [{ store: source, files: shards }] };
  }
  const manifest = parseManifest(name, bytes);
  return { id: archiveDigest(manifest), folders: await recordedFolders(source, manifest) };
}

async function lockFolder(folder: string): Promise<WriterLock> {
  await makeDirectory(folder);
  return WriterLock.acquire(folder);
}

/** Names of what an earlier copy left; `ALREADY_EXISTS` if anything else is there. */
async function requireFree(
  target: WritableStore,
  manifest: Uint8Array,
  records: readonly RecordedFile[],
): Promise<ReadonlySet<string>> {
  const names = new Set(await target.list());
  const own = new Set([LOCK_FILE, MANIFEST_FILE, SIGNATURE_FILE]);
  for (const { file } of records) own.add(file);
  const others = [...names].filter((name) => !own.has(name));
  if (others.length > 0) throw occupied(target, others.join(', '));
  if (!names.has(MANIFEST_FILE)) return names;
  const known = await readStored(target, MANIFEST_FILE, MAX_MANIFEST_BYTES);
  if (known === undefined || Buffer.compare(known, manifest) === 0) return names;
  throw occupied(target, 'another archive');
}

function occupied({ name }: WritableStore, found: string): SoftpackError {
  return new SoftpackError('ALREADY_EXISTS', 'something else is there', {
    field: name,
    expected: 'nothing, or an interrupted copy of the same',
    found: excerpt(found),
  });
}

async function copyFile(
  source: ByteStore,
  target: WritableStore,
  { file, bytes, sha256 }: RecordedFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  const opened = await source.open(file);
  const { name, size } = opened;
  if (size !== bytes) {
    const details = { field: `${name}: size`, expected: bytes, found: size };
    throw new SoftpackError('CORRUPT_DATA', 'not the file of this archive', details);
  }
  async function* parts() {
    const hash = createHash('sha256');
    for (let at = 0; at < size; at += PART_BYTES) {
      const part = new Uint8Array(Math.min(PART_BYTES, size - at));
      await opened.read(at, part, { signal });
      hash.update(part);
      // The last part is held back until the hash of all is known.
      if (at + part.length === size) requireHash(name, sha256, hash.digest('hex'));
      yield part;
    }
  }
  try {
    await target.putParts(file, size, parts(), { sha256, signal });
  } finally {
    await opened.close();
  }
}

function requireHash(name: string, expected: string, found: string): void {
  if (found === expected) return;
  const details = { field: `${name}: sha256`, expected, found };
  throw new SoftpackError('CORRUPT_DATA', 'file was changed after it was written', details);
}
