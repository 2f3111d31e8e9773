import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { replaceFile } from '../../container/durable.js';
import { onFile } from '../../store/file-error.js';
import { fileSha256 } from '../teachers/fingerprint.js';
import {
  ADDON,
  BINDING_FOLDER,
  DEVICE_STREAM,
  type InstalledTensorflow,
  OPERATIONS,
  readState,
  STATE_FILE,
} from './location.js';
import { isNeeded } from './plan.js';
import { OWNER, ownerOf } from './workspace.js';

/** Notes which files were compared with their hashes; a gigabyte of libraries takes a second. */
const CHECKED_FILE = 'checked.json';

/** Every file and link of a folder, for its record. */
export async function describeContents(
  dir: string,
): Promise<Pick<InstalledTensorflow, 'files' | 'links'>> {
  const files: Record<string, { bytes: number; sha256: string }> = {};
  const links: Record<string, string> = {};
  for (const { path, kind } of await entriesBelow(dir)) {
    const full = join(dir, path);
    if (kind === 'link') links[path] = await readlink(full);
    if (kind !== 'file') continue;
    files[path] = { bytes: (await stat(full)).size, sha256: await fileSha256(full) };
  }
  return { files, links };
}

/**
 * The first file of an installation that is not what was installed, or undefined. Files that were compared before and
 * have not changed since (size, modification, change of inode) are not read again.
 */
export async function damagedFile(
  dir: string,
  { files }: InstalledTensorflow,
): Promise<string | undefined> {
  const stamp = await stampOf(dir, Object.keys(files));
  const note = await readFile(join(dir, CHECKED_FILE), 'utf8').catch(() => '');
  if (stamp !== undefined && note === stamp) return undefined;
  for (const [path, { sha256 }] of Object.entries(files)) {
    const found = await fileSha256(join(dir, path)).catch(() => undefined);
    if (found !== sha256) return path;
  }
  // Folders that cannot be written are compared each time.
  if (stamp !== undefined) {
    await replaceFile(join(dir, CHECKED_FILE), Buffer.from(stamp)).catch(() => undefined);
  }
  return undefined;
}

async function stampOf(dir: string, paths: readonly string[]): Promise<string | undefined> {
  const hash = createHash('sha256');
  for (const path of [STATE_FILE, ...paths]) {
    const found = await stat(join(dir, path), { bigint: true }).catch(() => undefined);
    if (found === undefined) return undefined;
    const { size, mtimeNs, ctimeNs, ino, dev } = found;
    hash.update(`${path}\0${[size, mtimeNs, ctimeNs, ino, dev].join(' ')}\n`);
  }
  return `${JSON.stringify({ unchanged: hash.digest('hex') })}\n`;
}

/** Contents of a folder, by owner. */
export interface Ownership {
  /** Files and links that an installation put there, relative; the record comes last. */
  readonly ours: readonly string[];
  /** Everything else. */
  readonly others: readonly string[];
}

/**
 * Tells files that were installed from all others, by the record and by what is in them. Only libraries count as ours
 * even if they are damaged: nothing else has their names.
 */
export async function ownershipOf(dir: string): Promise<Ownership> {
  const state = readState(dir);
  const ours: string[] = [];
  const others: string[] = [];
  const folders: string[] = [];
  const entries = await entriesBelow(dir);
  for (const { path, kind } of entries) {
    if (path === STATE_FILE || path === CHECKED_FILE) continue;
    if (kind === 'folder') folders.push(path);
    else if (state !== undefined && (await isOurs(dir, state, path, kind))) ours.push(path);
    else others.push(path);
  }
  const parents = new Set(ours.flatMap(ancestors));
  others.push(...folders.filter((path) => !parents.has(path)));
  for (const name of [CHECKED_FILE, STATE_FILE]) {
    if (!entries.some(({ path }) => path === name)) continue;
    (state?.format === 2 ? ours : others).push(name);
  }
  return { ours, others };
}

/** What is compiled in an installation. */
const BUILT: readonly string[] = [join(BINDING_FOLDER, ADDON), DEVICE_STREAM, OPERATIONS];

async function isOurs(
  dir: string,
  { format, files, links }: InstalledTensorflow,
  path: string,
  kind: Entry['kind'],
): Promise<boolean> {
  if (format === 1) return false;
  if (path === OWNER) return (await ownerOf(dir)) !== undefined;
  const full = join(dir, path);
  if (kind === 'link') return Object.hasOwn(links, path) && links[path] === (await readlink(full));
  if (kind !== 'file' || !Object.hasOwn(files, path)) return false;
  if (isNeeded(path) || BUILT.includes(path)) return true;
  const { bytes, sha256 } = files[path];
  return (await lstat(full)).size === bytes && (await fileSha256(full)) === sha256;
}

/** Removes what an installation put into a folder, then the folders that this leaves empty. */
export async function removeOurs(dir: string, { ours }: Ownership): Promise<void> {
  const folders = [...new Set(ours.flatMap(ancestors))].sort((a, b) => b.length - a.length);
  const record = ours.filter((path) => path === STATE_FILE);
  for (const path of ours) {
    if (path !== STATE_FILE) await onFile(join(dir, path), () => rm(join(dir, path)));
  }
  // A folder that somebody has put something into meanwhile stays.
  for (const folder of folders) await rmdir(join(dir, folder)).catch(() => undefined);
  for (const path of record) await onFile(join(dir, path), () => rm(join(dir, path)));
  await rmdir(dir).catch(() => undefined);
}

function ancestors(path: string): string[] {
  const parent = dirname(path);
  return parent === '.' ? [] : [parent, ...ancestors(parent)];
}

interface Entry {
  /** Relative to the folder. */
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link' | 'other';
}

/** Everything below a folder; links are not followed. */
async function entriesBelow(dir: string, below = ''): Promise<Entry[]> {
  const found: Entry[] = [];
  const folder = join(dir, below);
  const entries = await onFile(folder, () => readdir(folder, { withFileTypes: true }));
  for (const entry of entries) {
    const path = join(below, entry.name);
    if (entry.isDirectory()) {
      found.push({ path, kind: 'folder' }, ...(await entriesBelow(dir, path)));
    } else {
      const kind = entry.isSymbolicLink() ? 'link' : entry.isFile() ? 'file' : 'other';
      found.push({ path, kind });
    }
  }
  return found;
}
