import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { loadXxh64 } from '../container/checksum.js';
import { isTemporaryOf, makeDirectory } from '../container/durable.js';
import { LOCK_FILE, requireUnlocked, WriterLock } from '../container/lock.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../container/shard-file.js';
import { errorCode, excerpt, SoftpackError } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { readLocalFileIfAny } from '../store/local.js';
import { writePlannedFile } from './codec-files.js';
import { type Manifest, parseManifest } from './manifest.js';
import { isPartFolder } from './parts.js';
import { writeSampleBlocks } from './sample-blocks.js';
import {
  type ArchivePlan,
  type ArchiveSpec,
  planArchive,
  planHead,
  requireSameHead,
} from './spec.js';
import { readUnfinished, UNFINISHED_FILE, type Unfinished, writeUnfinished } from './unfinished.js';
import { ArchiveWriter } from './writer.js';

export interface CreateArchiveOptions {
  /** Resume what an earlier writer of the same spec left behind, finished or not. */
  readonly resume?: boolean;
  /** @internal Of the directory, if the caller has acquired it; the writer releases it when it is closed. */
  readonly lock?: WriterLock;
}

/** Files with this prefix are a caller's work next to an unfinished archive: the directory is still its own. */
export const UNFINISHED_PACK = 'unfinished-pack.';

/**
 * Starts an archive in a new or empty directory, or with `resume` continues an unfinished one after reading back and
 * verifying every label in it (about a second per gigabyte).
 *
 * Equal specs and rows give equal bytes, however often the writer was interrupted. One writer at a time: another one
 * gets `LOCKED` with process and host of the first.
 *
 * @throws `ALREADY_EXISTS` if the directory holds something (without `resume`: also an unfinished archive),
 *   `INVALID_ARGUMENT` naming the field if the spec is wrong, or not the one that was begun.
 */
export async function createArchive(
  directory: string,
  spec: ArchiveSpec,
  options: CreateArchiveOptions = {},
): Promise<ArchiveWriter> {
  const plan = planArchive(spec, await loadXxh64());
  await makeDirectory(directory);
  const lock = options.lock ?? (await WriterLock.acquire(directory));
  try {
    return await openWriter(directory, plan, options, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function openWriter(
  directory: string,
  plan: ArchivePlan,
  options: CreateArchiveOptions,
  lock: WriterLock,
): Promise<ArchiveWriter> {
  const xxh64 = await loadXxh64();
  const finished = await finishedManifest(directory, plan, options);
  if (finished !== undefined) return ArchiveWriter.finished(directory, plan, xxh64, lock, finished);
  const begun = await requireBegun(directory, plan, options);
  if (begun === undefined) await writeUnfinished(directory, plan);
  // Whoever continues it is not who made it.
  const { provenance } = begun ?? plan;
  const whole = provenance === undefined ? plan : { ...plan, provenance };
  await writePlannedFile(directory, plan.codecFile);
  if (plan.samplesFile !== undefined) await writePlannedFile(directory, plan.samplesFile);
  if (plan.sampleBlocks !== undefined) await writeSampleBlocks(directory, plan.sampleBlocks);
  return ArchiveWriter.recover(directory, whole, xxh64, lock);
}

async function finishedManifest(
  directory: string,
  plan: ArchivePlan,
  options: CreateArchiveOptions,
): Promise<Manifest | undefined> {
  const path = join(directory, MANIFEST_FILE);
  const bytes = await readLocalFileIfAny(path, MAX_MANIFEST_BYTES);
  if (bytes === undefined) return undefined;
  if (!options.resume) throw alreadyExists(directory, 'a finished archive');
  const manifest = parseManifest(path, bytes);
  // How an archive of version 1 was divided is not asked for.
  const { grid: _, ...undivided } = plan.identity;
  const head = manifest.grid === undefined ? planHead(undivided, plan.request) : plan.head;
  requireSameHead(planHead(manifest, manifest.request), head);
  return manifest;
}

/** What a run has in a directory before its mark: its lock, work of its caller, parts, files it was killed before naming. */
function isOwn(name: string): boolean {
  if (name.startsWith(UNFINISHED_PACK) || isPartFolder(name)) return true;
  return (
    name === LOCK_FILE || [LOCK_FILE, UNFINISHED_FILE].some((base) => isTemporaryOf(name, base))
  );
}

/** This archive as it was begun in the directory; undefined if it was not. */
async function requireBegun(
  directory: string,
  plan: ArchivePlan,
  options: CreateArchiveOptions,
): Promise<Unfinished | undefined> {
  const begun = await readUnfinished(directory);
  if (begun === undefined) {
    const all = await onFile(directory, () => readdir(directory));
    const names = all.filter((name) => !isOwn(name));
    if (names.length > 0) throw alreadyExists(directory, names.join(', '));
    return undefined;
  }
  if (!options.resume)
    throw alreadyExists(directory, 'an unfinished archive (use resume to continue it)');
  requireSameHead(begun.head, plan.head);
  return begun;
}

/**
 * Throws `ALREADY_EXISTS` where the directory holds a finished archive or anything else that is not an
 * unfinished one: for callers with long work to do before they can create the archive.
 */
export async function requireUnfinished(directory: string): Promise<void> {
  const names = await onFile(directory, () => readdir(directory)).catch(
    (error: unknown): string[] => {
      if (errorCode(error) === 'NOT_FOUND') return [];
      throw error;
    },
  );
  await requireUnlocked(directory);
  if (names.includes(MANIFEST_FILE)) throw alreadyExists(directory, 'a finished archive');
  const others = names.filter((name) => !isOwn(name));
  if (others.length > 0 && (await readUnfinished(directory)) === undefined) {
    throw alreadyExists(directory, others.join(', '));
  }
}

function alreadyExists(directory: string, found: string): SoftpackError {
  return new SoftpackError('ALREADY_EXISTS', 'directory is not empty', {
    field: directory,
    expected: 'a new or empty directory',
    found: excerpt(found),
  });
}
