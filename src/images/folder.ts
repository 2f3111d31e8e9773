import { createHash } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { decodeText } from '../core/text.js';
import { SoftpackError } from '../errors.js';
import { fileError } from '../store/file-error.js';
import type { ImageFit } from './decode.js';
import type { ImageSource } from './source.js';
import { textTable } from './text-table.js';

export interface ImageFilesOptions {
  /** Resizes every image as it is decoded; as they are when absent. */
  readonly fit?: ImageFit;
}

export interface ImageFolderOptions extends ImageFilesOptions {
  /** The part of an ImageNet-style tree to take, e.g. `train`. */
  readonly split?: string;
}

const IMAGE_FILE = /\.(jpe?g|png|webp|avif|gif|tiff?)$/i;
/** Where ImageNet's own archive keeps its splits. */
const IMAGENET_SPLITS = 'Data/CLS-LOC';
const SPLITS = new Set(['train', 'val', 'valid', 'validation', 'test']);

/**
 * The images of a folder with one folder a class, as torchvision's ImageFolder lists them: classes by name,
 * then files by path, folders inside a class included. With `split` the folder of that name is taken, in the
 * root or where ImageNet's archive keeps it. A folder of image files alone has no classes, and its files come in
 * the order of their names. Lists files, opens none.
 *
 * @throws `NOT_FOUND` if there is no such folder, `INVALID_FILE` if it holds no image, or images beside folders of
 *   images: their classes cannot be told.
 */
export async function imageFolder(
  root: string,
  options: ImageFolderOptions = {},
): Promise<ImageSource> {
  const folder = await splitFolder(root, options.split);
  const { folders: classNames, files } = await entriesOf(folder);
  const flat = files.filter((name) => IMAGE_FILE.test(name));
  if (options.split === undefined && classNames.length > 0) requireNoSplits(root, classNames);
  const names: string[] = [];
  const targets: number[] = [];
  for (const [target, className] of classNames.entries()) {
    for (const name of await imagesBelow(folder, className)) {
      names.push(name);
      targets.push(target);
    }
  }
  if (flat.length > 0 && names.length === 0) return fileImages(folder, flat, options);
  if (flat.length > 0 || names.length === 0) {
    throw new SoftpackError('INVALID_FILE', flat.length > 0 ? 'two kinds of folder' : 'no images', {
      field: folder,
      expected: 'JPEG, PNG, WebP, AVIF, GIF or TIFF files, or folders of them',
      found: flat.length > 0 ? `${flat[0]} and ${names[0]}` : `${classNames.length} folders`,
    });
  }
  return fileImages(folder, names, { ...options, classNames, targets });
}

/**
 * The images that a text file lists, one a line, in its order: `path`, `path<tab>class name` or
 * `path class-index` (as Caffe's lists have it). Paths are relative to `root`, by default the list's own folder.
 * Empty lines and lines that begin with `#` are skipped.
 *
 * @throws `NOT_FOUND` if there is no such file, `INVALID_FILE` naming the line that is wrong.
 */
export async function imageList(
  file: string,
  { root = dirname(file), ...options }: ImageFilesOptions & { readonly root?: string } = {},
): Promise<ImageSource> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw fileError(file, cause);
  });
  const entries = decodeText(file, 'content', bytes)
    .split(/\r?\n/)
    .flatMap((line, i) => (/^\s*(#|$)/.test(line) ? [] : [listEntry(file, i + 1, line)]));
  if (entries.length === 0) {
    throw new SoftpackError('INVALID_FILE', 'no images', { field: file, found: 'no lines' });
  }
  const names = entries.map(({ path }) => path);
  return fileImages(root, names, { ...options, ...listedClasses(file, entries) });
}

interface ListEntry {
  readonly line: number;
  readonly path: string;
  readonly target?: string | number;
}

function listEntry(file: string, line: number, text: string): ListEntry {
  const named = /^(.+?)\t+([^\t]+?)\s*$/.exec(text);
  const numbered = /^(.*\S)\s+(\d+)\s*$/.exec(text);
  const path = (named?.[1] ?? numbered?.[1] ?? text).trim();
  if (!IMAGE_FILE.test(path)) {
    throw new SoftpackError('INVALID_FILE', 'not an image file', {
      field: `${file}: line ${line}`,
      expected: 'a path, then at most a tab and a class name, or a space and a class index',
      found: text,
    });
  }
  if (named !== null) return { line, path, target: named[2] };
  return numbered === null ? { line, path } : { line, path, target: Number(numbered[2]) };
}

/** Names are numbered in alphabetical order; lists of indices keep theirs. All lines have a class, or none. */
function listedClasses(file: string, entries: readonly ListEntry[]) {
  const kind = typeof entries[0].target;
  const odd = entries.find(({ target }) => typeof target !== kind);
  if (odd !== undefined) {
    throw new SoftpackError('INVALID_FILE', 'lines of different kinds', {
      field: `${file}: line ${odd.line}`,
      expected: { undefined: 'no class', string: 'a class name', number: 'a class index' }[
        kind as 'undefined'
      ],
      found: odd.target ?? 'no class',
    });
  }
  if (kind === 'undefined') return {};
  const targets = entries.map(({ target }) => target as string | number);
  if (kind === 'number') return { targets: targets as number[] };
  const classNames = [...new Set(targets as string[])].sort();
  const indices = new Map(classNames.map((name, i) => [name, i]));
  return { classNames, targets: targets.map((name) => indices.get(name as string) as number) };
}

interface FileImagesParts extends ImageFilesOptions {
  readonly classNames?: readonly string[];
  readonly targets?: readonly number[];
}

function fileImages(
  root: string,
  names: readonly string[],
  { fit, classNames, targets }: FileImagesParts,
): ImageSource {
  const hash = createHash('sha256').update(JSON.stringify({ kind: 'files', fit }));
  for (const name of names) hash.update(`\n${name}`);
  return {
    count: names.length,
    ...(classNames && { classNames }),
    ...(targets && { targets: Uint32Array.from(targets) }),
    id: hash.digest('hex'),
    description: { kind: 'files', root: resolve(root), names: textTable(names), fit },
  };
}

async function splitFolder(root: string, split: string | undefined): Promise<string> {
  if (split === undefined) return root;
  const candidates = [join(root, split), join(root, IMAGENET_SPLITS, split)];
  for (const path of candidates) if ((await kindOf(path)) === 'folder') return path;
  throw new SoftpackError('NOT_FOUND', 'no folder of this split', {
    field: root,
    expected: candidates.join(' or '),
  });
}

/** `train` and `val` as classes would give a wrong data set without a word. */
function requireNoSplits(root: string, classNames: readonly string[]): void {
  if (!classNames.every((name) => SPLITS.has(name))) return;
  throw new SoftpackError('INVALID_ARGUMENT', 'these are splits, not classes: name one', {
    field: 'split',
    expected: classNames.join(' or '),
    found: root,
  });
}

/** Paths of all images in a folder and below it, relative to `root`: folder by folder, each in order. */
async function imagesBelow(root: string, folder: string): Promise<string[]> {
  const found: (readonly [folder: string, files: readonly string[]])[] = [];
  const waiting = [folder];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const here = next;
    const { folders, files } = await entriesOf(join(root, here));
    for (const name of folders) waiting.push(`${here}/${name}`);
    found.push([here, files.filter((name) => IMAGE_FILE.test(name))]);
  }
  return found
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([path, files]) => files.map((name) => `${path}/${name}`));
}

/** Names in order, hidden ones left out; symbolic links count as what they lead to. */
async function entriesOf(folder: string): Promise<{ folders: string[]; files: string[] }> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw fileError(folder, cause);
  });
  const folders: string[] = [];
  const files: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const kind = entry.isSymbolicLink()
      ? await kindOf(join(folder, entry.name))
      : kindOfEntry(entry);
    if (kind === 'folder') folders.push(entry.name);
    else if (kind === 'file') files.push(entry.name);
  }
  return { folders: folders.sort(), files: files.sort() };
}

type Kind = 'file' | 'folder' | 'other';

async function kindOf(path: string): Promise<Kind> {
  const found = await stat(path).catch(() => undefined);
  return found === undefined ? 'other' : kindOfEntry(found);
}

function kindOfEntry(entry: Pick<Dirent, 'isFile' | 'isDirectory'>): Kind {
  if (entry.isDirectory()) return 'folder';
  return entry.isFile() ? 'file' : 'other';
}
