import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { SoftpackError } from '../errors.js';
import { asNotFound } from '../files/random-access.js';

/** The images of a folder, in the order of their sample ids. */
export interface ImageList {
  readonly folder: string;
  /** Paths below the folder with `/` between the parts. */
  readonly files: readonly string[];
  /** Names of the subfolders, sorted, where each is a class; absent for a flat folder. */
  readonly classNames?: readonly string[];
  /** [files]: index of each file's class. */
  readonly classes?: Uint32Array;
  /** Files that are not images of a known kind. */
  readonly ignored: readonly string[];
}

const EXTENSIONS = new Set(
  ['.jpg', '.jpeg', '.jfif', '.png', '.webp', '.avif', '.gif', '.tif', '.tiff', '.svg'].values(),
);

/**
 * Lists a folder of images: either images, or a subfolder a class with images at any depth, as torchvision's
 * `ImageFolder` and Keras's `image_dataset_from_directory` have it. Sample ids follow the class, then the path, both
 * in the order of their UTF-16 code units; names that begin with a dot are left out.
 *
 * @throws `NOT_FOUND` if there is no folder or no image in it, `INVALID_ARGUMENT` if images lie both in it and in
 *   subfolders: their classes cannot be told.
 */
export async function listImages(folder: string): Promise<ImageList> {
  const entries = await visibleEntries(folder, '');
  const ignored: string[] = [];
  const flat = imagesAmong(entries.files, ignored);
  const files: string[] = [];
  const classes: number[] = [];
  const classNames: string[] = [];
  for (const name of entries.folders) {
    const found = await imagesBelow(folder, name, ignored);
    if (found.length === 0) continue;
    files.push(...found);
    classes.push(...found.map(() => classNames.length));
    classNames.push(name);
  }
  if (flat.length > 0 && files.length > 0) {
    throw new SoftpackError('INVALID_ARGUMENT', 'images both in the folder and in its subfolders', {
      field: folder,
      expected: 'images only, or a subfolder for each class',
      found: `${flat[0]} and ${files[0]}`,
    });
  }
  if (flat.length > 0) return { folder, files: flat, ignored };
  if (files.length > 0) {
    return { folder, files, classNames, classes: Uint32Array.from(classes), ignored };
  }
  throw new SoftpackError('NOT_FOUND', 'no images', {
    field: folder,
    expected: [...EXTENSIONS].join(' '),
    found: ignored.length === 0 ? 'an empty folder' : ignored.slice(0, 3).join(', '),
  });
}

function imagesAmong(files: readonly string[], ignored: string[]): string[] {
  const isImage = (file: string) => EXTENSIONS.has(extname(file).toLowerCase());
  ignored.push(...files.filter((file) => !isImage(file)));
  return files.filter(isImage);
}

async function imagesBelow(root: string, below: string, ignored: string[]): Promise<string[]> {
  const { files, folders } = await visibleEntries(root, below);
  const images = imagesAmong(files, ignored);
  for (const folder of folders) images.push(...(await imagesBelow(root, folder, ignored)));
  return images.sort();
}

/** Paths below `root` of what lies in its subfolder `below`, sorted; links are followed. */
async function visibleEntries(root: string, below: string) {
  const path = join(root, below);
  const entries = await readdir(path, { withFileTypes: true }).catch((cause: unknown) => {
    throw asNotFound(path, cause);
  });
  const files: string[] = [];
  const folders: string[] = [];
  for (const entry of entries.filter(({ name }) => !name.startsWith('.'))) {
    const name = below === '' ? entry.name : `${below}/${entry.name}`;
    const kind = entry.isSymbolicLink() ? await stat(join(root, name)) : (entry as Kind);
    if (kind.isFile()) files.push(name);
    else if (kind.isDirectory()) folders.push(name);
  }
  return { files: files.sort(), folders: folders.sort() };
}

type Kind = Pick<Dirent, 'isFile' | 'isDirectory'>;
