import { join } from 'node:path';
import { makeDirectory, removeTemporaries, replaceFile } from '../container/durable.js';
import { compareCodePoints } from '../core/code-points.js';
import { encodePixels, type PixelFormat } from '../images/decode.js';
import type { Distilled } from './distilled.js';

/** What can be a folder's name on every system and is not hidden. */
const PLAIN = /^[\p{L}\p{N}_-][\p{L}\p{N}\p{So}_ .,'()+&-]{0,60}$/u;

interface EncodedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The images of a class as files of a folder. */
export interface ClassFiles {
  readonly folder: string;
  readonly files: readonly EncodedFile[];
}

export interface EncodedImages {
  readonly classes: readonly ClassFiles[];
  /** Bytes of each image's file. */
  readonly sizes: ReadonlyMap<Distilled, number>;
}

/** One folder per class, which `imageFolder` lists in the order of the classes. */
export class ImageTree {
  readonly #format: PixelFormat;
  readonly #size: readonly [number, number];
  readonly #folders: ReadonlyMap<number, string>;

  constructor(
    folders: ReadonlyMap<number, string>,
    size: readonly [number, number],
    format: PixelFormat,
  ) {
    this.#format = format;
    this.#size = size;
    this.#folders = folders;
  }

  /** Images of some classes, encoded, and the size of each. */
  async encode(images: readonly Distilled[]): Promise<EncodedImages> {
    const [height, width] = this.#size;
    const extension = this.#format === 'png' ? 'png' : 'jpg';
    const classes = new Map<number, EncodedFile[]>();
    const sizes = new Map<Distilled, number>();
    for (const image of images) {
      const { target, index, pixels } = image;
      const bytes = await encodePixels({ pixels, height, width }, this.#format);
      const file = { name: `class${pad(target, 5)}_id${pad(index, 5)}.${extension}`, bytes };
      const others = classes.get(target);
      if (others === undefined) classes.set(target, [file]);
      else others.push(file);
      sizes.set(image, bytes.length);
    }
    const folderOf = (target: number) => this.#folders.get(target) ?? String(target);
    return {
      classes: [...classes].map(([target, files]) => ({ folder: folderOf(target), files })),
      sizes,
    };
  }
}

/** Writes the images of a class below a folder. */
export async function writeClass(root: string, { folder, files }: ClassFiles): Promise<void> {
  const path = join(root, folder);
  await makeDirectory(path);
  await removeTemporaries(
    path,
    files.map(({ name }) => name),
  );
  for (const { name, bytes } of files) await replaceFile(join(path, name), bytes);
}

/**
 * Folder of each class from `first` to `end`: its name if the names of all are in order, so that softpack finds the classes by
 * name, else its number with zeros in front and what of the name a folder can be called.
 */
export function classFolders(
  names: readonly string[] | undefined,
  [first, end]: readonly [number, number],
): ReadonlyMap<number, string> {
  const targets = Array.from({ length: end - first }, (_, i) => first + i);
  const own = names?.slice(first, end);
  const ordered = own?.every((name, i) => i === 0 || compareCodePoints(own[i - 1], name) < 0);
  const lower = new Set(own?.map((name) => name.toLowerCase()));
  const usable = own?.every((name) => PLAIN.test(name) && !/[ .]$/.test(name));
  if (own !== undefined && ordered && usable && lower.size === own.length) {
    return new Map(targets.map((target, i) => [target, own[i]]));
  }
  return new Map(targets.map((target) => [target, numberedFolder(target, names?.[target])]));
}

function numberedFolder(target: number, name = ''): string {
  const words = name.replace(/[^\p{L}\p{N}_-]+/gu, '-').replace(/^-+|-+$/g, '');
  return words === '' ? pad(target, 5) : `${pad(target, 5)}_${words.slice(0, 60)}`;
}

function pad(value: number, digits: number): string {
  return String(value).padStart(digits, '0');
}
