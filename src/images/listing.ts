import type { Dirent } from 'node:fs';
import { lstat, readdir, readlink, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { compareCodePoints } from '../core/code-points.js';
import { errorCode, invalidFile } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { readHead } from '../store/local.js';
import { isHidden, isImageName, isSystemFolder, looksLikeImage } from './file-names.js';
import { imageFormat } from './formats/sniff.js';
import { requireNoSplitsWithin } from './split-names.js';

/** Entries of a folder, each kind in the order of code points; symbolic links count as their targets. */
export interface FolderEntries {
  readonly folders: readonly string[];
  readonly files: readonly string[];
  /** Devices, sockets and pipes. */
  readonly others: readonly string[];
}

/** Links and names checked at a time. */
const LOOKUPS_AT_ONCE = 64;
/** Most paths to one folder: links that fan out would otherwise list a few images millions of times. */
const MOST_WAYS = 64;
/** Files with this prefix hold macOS's metadata of the file whose name follows it. */
const APPLE_DOUBLE = '00051607';

/** Collects files that look like images and are left out. */
export class SkippedFiles {
  static readonly #shown = 10;
  readonly examples: string[] = [];
  count = 0;

  add(path: string): void {
    this.count += 1;
    if (this.examples.length < SkippedFiles.#shown) this.examples.push(path);
  }
}

/** @throws `INVALID_FILE` naming a symbolic link that leads nowhere, or a name that is not UTF-8. */
export async function entriesOf(folder: string): Promise<FolderEntries> {
  const entries = await onFile(folder, () => readdir(folder, { withFileTypes: true }));
  entries.sort((a, b) => compareCodePoints(a.name, b.name));
  const found = { folders: [] as string[], files: [] as string[], others: [] as string[] };
  for (let at = 0; at < entries.length; at += LOOKUPS_AT_ONCE) {
    const some = entries.slice(at, at + LOOKUPS_AT_ONCE);
    const kinds = await Promise.all(some.map((entry) => kindOf(folder, entry)));
    for (const [i, kind] of kinds.entries()) if (kind !== 'none') found[kind].push(some[i].name);
  }
  return found;
}

type Kind = keyof FolderEntries | 'none';

async function kindOf(folder: string, entry: Dirent): Promise<Kind> {
  const path = join(folder, entry.name);
  if (entry.name.includes('\ufffd')) await requireUtf8(path);
  if (!entry.isSymbolicLink()) return kindOfEntry(entry);
  const found = await stat(path).catch((cause: unknown) => {
    if (errorCode(cause) === 'ENOENT') return undefined;
    return onFile(path, () => Promise.reject(cause));
  });
  if (found !== undefined) return kindOfEntry(found);
  // Editors keep their locks as hidden links to nothing.
  if (isHidden(entry.name)) return 'none';
  throw invalidFile(path, 'link', 'symbolic link leads nowhere; remove or mend it', {
    found: await readlink(path).catch(() => 'nothing'),
  });
}

function kindOfEntry(entry: Pick<Dirent, 'isFile' | 'isDirectory'>): Kind {
  if (entry.isDirectory()) return 'folders';
  return entry.isFile() ? 'files' : 'others';
}

/** Node.js replaces bytes of a name that are not UTF-8; the file cannot be opened by the result. */
async function requireUtf8(path: string): Promise<void> {
  const there = await lstat(path).then(
    () => true,
    () => false,
  );
  if (!there) throw invalidFile(path, 'name', 'file name is not UTF-8; rename the file');
}

interface WaitingFolder {
  /** Relative to the root. */
  readonly path: string;
  /** Identities of the folders above. */
  readonly above: readonly string[];
}

/**
 * Paths of all images in a folder and below it, relative to `root`, in the order of torchvision's ImageFolder: folders by
 * path, the files of each by name, hidden ones included, symbolic links followed.
 *
 * @throws `INVALID_FILE` naming a link that leads nowhere or back to a folder above.
 */
export async function imagesBelow(
  root: string,
  folder: string,
  skipped: SkippedFiles,
): Promise<string[]> {
  const found: (readonly [folder: string, files: readonly string[]])[] = [];
  const ways = new Map<string, number>();
  const waiting: WaitingFolder[] = [{ path: folder, above: [await identityOf(root)] }];
  for (let here = waiting.pop(); here !== undefined; here = waiting.pop()) {
    const path = join(root, here.path);
    const identity = await identityOf(path);
    if (here.above.includes(identity)) await failLoop(path);
    const count = (ways.get(identity) ?? 0) + 1;
    ways.set(identity, count);
    if (count > MOST_WAYS) await failFan(path);
    const entries = await entriesOf(path);
    requireNoSplitsWithin(path, entries);
    const above = [...here.above, identity];
    for (const name of entries.folders) {
      const below = `${here.path}/${name}`;
      if (isSystemFolder(name)) await countSkipped(root, below, skipped);
      else waiting.push({ path: below, above });
    }
    found.push([here.path, await imagesAmong(path, entries, skipped)]);
  }
  return found
    .sort(([a], [b]) => compareCodePoints(a, b))
    .flatMap(([path, files]) => files.map((name) => `${path}/${name}`));
}

async function identityOf(path: string): Promise<string> {
  const { dev, ino } = await onFile(path, () => stat(path, { bigint: true }));
  return `${dev}:${ino}`;
}

async function failLoop(path: string): Promise<never> {
  throw invalidFile(path, 'link', 'leads back to a folder above it; remove this link', {
    found: await realpath(path),
  });
}

async function failFan(path: string): Promise<never> {
  throw invalidFile(path, 'link', 'symbolic links lead to this folder in too many ways', {
    expected: `at most ${MOST_WAYS}`,
    found: await realpath(path),
  });
}

/** The images of one folder; files that only look like images are counted. */
export async function imagesAmong(
  folder: string,
  { files, others }: FolderEntries,
  skipped: SkippedFiles,
): Promise<readonly string[]> {
  const images: string[] = [];
  for (const name of files) {
    const path = join(folder, name);
    if (isImageName(name)) {
      if (name.startsWith('._') && (await isAppleDouble(path))) skipped.add(path);
      else images.push(name);
    } else if (looksLikeImage(name) || (!name.includes('.') && (await isImageContent(path)))) {
      skipped.add(path);
    }
  }
  for (const name of others) if (isImageName(name)) skipped.add(join(folder, name));
  return images;
}

/** Counts the images of a folder that is left out. */
export async function countSkipped(
  root: string,
  folder: string,
  skipped: SkippedFiles,
): Promise<void> {
  for (const name of await imagesBelow(root, folder, skipped)) skipped.add(join(root, name));
}

async function isAppleDouble(path: string): Promise<boolean> {
  return Buffer.from(await readHead(path, 4)).toString('hex') === APPLE_DOUBLE;
}

async function isImageContent(path: string): Promise<boolean> {
  return imageFormat(await readHead(path, 64)) !== undefined;
}
