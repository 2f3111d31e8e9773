import { readManifestBytes } from '../archive/files.js';
import { type ArchiveReport, verifyArchiveFiles } from '../archive/verify-archive.js';
import {
  readUnfinishedHead,
  type UnfinishedReport,
  verifyUnfinished,
} from '../archive/verify-unfinished.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { argument } from '../core/check.js';
import { errorCode } from '../errors.js';
import { isImagesManifest } from '../images/packed/manifest.js';
import { type ImagesReport, verifyPackedImages } from '../images/packed/verify-images.js';
import type { ByteStore } from '../store/byte-store.js';
import { openStore } from '../store/open-store.js';

export type VerifyReport = ArchiveReport | UnfinishedReport | ImagesReport;

export interface VerifyArchiveOptions {
  /** Files that are read at a time; default 4. */
  readonly concurrency?: number;
  /** Bytes done and all bytes; for an unfinished archive, its shards. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Reads every byte of an archive, finished or not, or of packed images, and holds it against checksums and hashes. All
 * damage is in the report, with the labels or images that it hits; none is thrown.
 *
 * @param from a folder, an address (`https://...`) or a store.
 * @throws `NOT_FOUND` if there is no such folder, `INCOMPLETE` if it holds nothing of this kind, `UNSUPPORTED` if that
 *   needs a newer reader, `NETWORK_FAILED` if a server could not be read.
 */
export async function verifyArchive(
  from: string | ByteStore,
  { concurrency = 4, onProgress, signal }: VerifyArchiveOptions = {},
): Promise<VerifyReport> {
  argument.count(concurrency, 'concurrency', 1, 1024);
  const store = typeof from === 'string' ? await openStore(from) : from;
  const options = { concurrency, onProgress, signal };
  let manifest: Uint8Array;
  try {
    manifest = await readManifestBytes(store);
  } catch (error) {
    if (errorCode(error) !== 'INCOMPLETE') throw error;
    const unfinished = await readUnfinishedHead(store);
    if (unfinished !== undefined) return verifyUnfinished(store, unfinished.identity, options);
    const kind = await kindWithoutManifest(store);
    if (kind === undefined) throw error;
    return lostManifest(kind);
  }
  if (isImagesManifest(manifest)) return verifyPackedImages(store, manifest, options);
  return verifyArchiveFiles(store, manifest, options);
}

/** Files that tell what a folder held before its manifest was lost. */
const TRACES = {
  'codec.safetensors': 'archive',
  'images-00000.safetensors': 'packed images',
} as const;

async function kindWithoutManifest(
  store: ByteStore,
): Promise<'archive' | 'packed images' | undefined> {
  for (const [file, kind] of Object.entries(TRACES)) {
    try {
      await (await store.open(file)).close();
      return kind;
    } catch (error) {
      if (errorCode(error) !== 'NOT_FOUND') throw error;
    }
  }
  return undefined;
}

function lostManifest(kind: 'archive' | 'packed images'): VerifyReport {
  const problem = 'the manifest is missing: nothing else can be verified without it';
  const damage = { file: MANIFEST_FILE, kind: 'missing', problem, bytes: [0, 0] } as const;
  const none = { files: 0, bytes: 0 };
  return kind === 'archive'
    ? { kind, ...none, damage: [{ ...damage, labels: [] }] }
    : { kind, ...none, damage: [damage] };
}
