import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { invalidFile, SoftpackError } from '../errors.js';
import { fileImages, type ImageFilesOptions } from './file-images.js';
import { isHidden, isSystemFolder } from './file-names.js';
import {
  countSkipped,
  entriesOf,
  type FolderEntries,
  imagesAmong,
  imagesBelow,
  SkippedFiles,
} from './listing.js';
import type { ImageSource } from './source.js';
import { requireNoSplits } from './splits.js';

export interface ImageFolderOptions extends ImageFilesOptions {
  /** The part of an ImageNet-style tree to take, e.g. `train`. */
  readonly split?: string;
}

/** Folder in which ImageNet's own archive keeps its splits. */
const IMAGENET_SPLITS = 'Data/CLS-LOC';

/**
 * The images of a folder with one folder per class, listed as torchvision's ImageFolder does: classes by name, then files
 * by path (both in the order of code points), folders inside a class included. With `split` the folder of that name is
 * taken, in the root or in the place it has in ImageNet's archive. A folder of image files alone has no classes, and its files come
 * in the order of their names. Lists files without decoding any.
 *
 * Hidden folders next to the classes, and folders of the operating system anywhere, are no classes; their images, and files
 * that look like images but are not read, are counted in `skipped`.
 *
 * @throws `NOT_FOUND` if there is no such folder, `INVALID_FILE` naming a folder without images, images next to folders of
 *   images (their classes are unknown), a link that leads nowhere or to a folder above, `INVALID_ARGUMENT` if the
 *   folders are splits.
 */
export async function imageFolder(
  root: string,
  options: ImageFolderOptions = {},
): Promise<ImageSource> {
  const folder = await splitFolder(root, options.split);
  const entries = await entriesOf(folder);
  const skipped = new SkippedFiles();
  const classNames = entries.folders.filter((name) => !isHidden(name) && !isSystemFolder(name));
  for (const name of entries.folders) {
    if (!classNames.includes(name)) await countSkipped(folder, name, skipped);
  }
  if (options.split === undefined) await requireNoSplits(folder, classNames);
  const flat = await flatImages(folder, entries, skipped);
  const byClass = await imagesByClass(folder, classNames, skipped);
  const filled = byClass.filter((names) => names.length > 0).length;
  if (flat.length > 0 && filled === 0) return fileImages(folder, flat, { ...options, skipped });
  requireClasses(folder, { flat, classNames, byClass, skipped });
  const targets = byClass.flatMap((names, target) => names.map(() => target));
  return fileImages(folder, byClass.flat(), { ...options, classNames, targets, skipped });
}

/** Hidden files of a folder without classes are left out. */
async function flatImages(
  folder: string,
  entries: FolderEntries,
  skipped: SkippedFiles,
): Promise<readonly string[]> {
  const images = await imagesAmong(folder, entries, skipped);
  for (const name of images.filter(isHidden)) skipped.add(join(folder, name));
  return images.filter((name) => !isHidden(name));
}

async function imagesByClass(
  folder: string,
  classNames: readonly string[],
  skipped: SkippedFiles,
): Promise<readonly (readonly string[])[]> {
  const found: string[][] = [];
  for (const name of classNames) found.push(await imagesBelow(folder, name, skipped));
  return found;
}

interface Listed {
  readonly flat: readonly string[];
  readonly classNames: readonly string[];
  readonly byClass: readonly (readonly string[])[];
  readonly skipped: SkippedFiles;
}

function requireClasses(folder: string, { flat, classNames, byClass, skipped }: Listed): void {
  const first = byClass.find((names) => names.length > 0)?.[0];
  const looksLike = skipped.count > 0 ? `, but ${skipped.examples[0]}, which is not read` : '';
  if (first === undefined) {
    throw invalidFile(folder, 'content', 'no images', {
      expected: 'JPEG, PNG, WebP, TIFF, BMP, PPM, GIF or AVIF files, or folders of them',
      found: `${classNames.length} folders${looksLike}`,
    });
  }
  if (flat.length > 0) {
    throw invalidFile(folder, 'content', 'images beside folders of images', {
      expected: 'images, or one folder per class',
      found: `${flat[0]} and ${first}`,
    });
  }
  const empty = classNames.filter((_, i) => byClass[i].length === 0);
  if (empty.length === 0) return;
  const path = join(folder, empty[0]);
  throw invalidFile(path, 'content', 'class without images; remove the folder, or add images', {
    expected: 'at least one image in every folder',
    found: `${empty.length} of ${classNames.length} folders without images${looksLike}`,
  });
}

async function splitFolder(root: string, split: string | undefined): Promise<string> {
  if (split === undefined) return root;
  const candidates = [join(root, split), join(root, IMAGENET_SPLITS, split)];
  for (const path of candidates) if (await isFolder(path)) return path;
  throw new SoftpackError('NOT_FOUND', 'no folder of this split', {
    field: root,
    expected: candidates.join(' or '),
  });
}

async function isFolder(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isDirectory() ?? false;
}
