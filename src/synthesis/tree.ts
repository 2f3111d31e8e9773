import { join } from 'node:path';
import { makeDirectory, removeTemporaries, replaceFile } from '../container/durable.js';
import { compareCodePoints } from '../core/code-points.js';
import { encodePixels, type PixelFormat } from '../images/decode.js';

/** What can be a folder's name on every system and is not hidden. */
const PLAIN = /^[\p{L}\p{N}_-][\p{L}\p{N}\p{So}_ .,'()+&-]{0,60}$/u;

/** One folder per class, which `imageFolder` lists in the order of the classes. */
export class ImageTree {
  readonly root: string;
  readonly #format: PixelFormat;
  readonly #size: readonly [number, number];
  readonly #folders: ReadonlyMap<number, string>;

  constructor(
    root: string,
    folders: ReadonlyMap<number, string>,
    size: readonly [number, number],
    format: PixelFormat,
  ) {
    this.root = root;
    this.#format = format;
    this.#size = size;
    this.#folders = folders;
  }

  /** Writes all images of one class and gives their sizes in bytes. */
  async write(
    target: number,
    images: readonly { readonly index: number; readonly pixels: Uint8Array }[],
  ): Promise<readonly number[]> {
    const folder = join(this.root, this.#folders.get(target) ?? String(target));
    const [height, width] = this.#size;
    const extension = this.#format === 'png' ? 'png' : 'jpg';
    const nameOf = (index: number) => `class${pad(target, 5)}_id${pad(index, 5)}.${extension}`;
    await makeDirectory(folder);
    await removeTemporaries(
      folder,
      images.map(({ index }) => nameOf(index)),
    );
    const sizes: number[] = [];
    for (const { index, pixels } of images) {
      const bytes = await encodePixels({ pixels, height, width }, this.#format);
      await replaceFile(join(folder, nameOf(index)), bytes);
      sizes.push(bytes.length);
    }
    return sizes;
  }
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
