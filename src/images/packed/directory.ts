import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isTemporaryOf } from '../../container/durable.js';
import { LOCK_FILE } from '../../container/lock.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../../container/shard-file.js';
import { isJsonObject, parseJson } from '../../core/json.js';
import { errorCode, isSoftpackError, SoftpackError } from '../../errors.js';
import { fileError, onFile } from '../../store/file-error.js';
import { openLocalFile, readLocalFile } from '../../store/local.js';
import { IMAGES_FORMAT } from './manifest.js';
import { openImageShard } from './shard.js';

const SHARD_FILE = /^images-\d{5,}\.safetensors$/;

export function shardFile(index: number): string {
  return `images-${String(index).padStart(5, '0')}.safetensors`;
}

/** `none` if the folder holds something else. Recognised by content, whatever the files' names. */
export async function packedState(folder: string): Promise<'finished' | 'unfinished' | 'none'> {
  const names = await onFile(folder, () => readdir(folder));
  const listed = names.includes(MANIFEST_FILE);
  if (listed && (await isImagesManifest(join(folder, MANIFEST_FILE)))) return 'finished';
  for (const name of names.filter((file) => SHARD_FILE.test(file))) {
    // If the manifest cannot be read, the reader reports why.
    if (await isImageShard(join(folder, name))) return listed ? 'finished' : 'unfinished';
  }
  return 'none';
}

async function isImagesManifest(path: string): Promise<boolean> {
  return recognise(async () => {
    const json = parseJson(path, 'content', await readLocalFile(path, MAX_MANIFEST_BYTES));
    return isJsonObject(json) && json.format === IMAGES_FORMAT;
  });
}

async function isImageShard(path: string): Promise<boolean> {
  return recognise(async () => {
    const file = await openLocalFile(path);
    try {
      await openImageShard(file);
      return true;
    } finally {
      await file.close();
    }
  });
}

/** False for files of another format, for which the readers' errors say so. */
async function recognise(look: () => Promise<boolean>): Promise<boolean> {
  try {
    return await look();
  } catch (error) {
    if (isSoftpackError(error) && (error.code === 'INVALID_FILE' || error.code === 'NOT_FOUND')) {
      return false;
    }
    throw error;
  }
}

/** Files that an interrupted run left in a folder: the only ones that the next run may replace or remove. */
export interface OwnFiles {
  /** Shards, of this or another run, recognised by their header. */
  readonly shards: ReadonlySet<string>;
  /** Files that were being written, by their names: 64 random bits. */
  readonly temporaries: readonly string[];
}

/** @throws `ALREADY_EXISTS` naming a file that no interrupted run left. */
export async function ownFiles(folder: string): Promise<OwnFiles> {
  const shards = new Set<string>();
  const temporaries: string[] = [];
  for (const name of await onFile(folder, () => readdir(folder))) {
    const path = join(folder, name);
    if (name === LOCK_FILE) continue;
    if (!(await isOwnKind(path))) throw foreign(folder, name);
    if (isTemporary(name)) temporaries.push(name);
    else if (SHARD_FILE.test(name) && (await isImageShard(path))) shards.add(name);
    else throw foreign(folder, name);
  }
  return { shards, temporaries };
}

/** A regular file, or nothing any more: another writer's temporary file. */
async function isOwnKind(path: string): Promise<boolean> {
  const found = await lstat(path).catch((cause: unknown) => {
    if (errorCode(cause) === 'ENOENT') return undefined;
    throw fileError(path, cause);
  });
  return found?.isFile() ?? true;
}

function isTemporary(name: string): boolean {
  const base = name.slice(0, name.lastIndexOf('.tmp-'));
  const known = SHARD_FILE.test(base) || base === MANIFEST_FILE || base === LOCK_FILE;
  return known && isTemporaryOf(name, base);
}

/** Removes the remains of earlier runs except the shards in `kept`. */
export async function removeOwnFiles(
  folder: string,
  { shards, temporaries }: OwnFiles,
  kept: ReadonlySet<string>,
): Promise<void> {
  for (const name of [...temporaries, ...shards]) {
    if (kept.has(name)) continue;
    const path = join(folder, name);
    await onFile(path, () => rm(path, { force: true }));
  }
}

function foreign(folder: string, name: string): SoftpackError {
  const message = 'folder is not empty; name a new one, or one with an interrupted run';
  return new SoftpackError('ALREADY_EXISTS', message, { field: folder, found: name });
}
