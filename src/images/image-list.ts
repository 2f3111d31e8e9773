import { dirname } from 'node:path';
import { compareCodePoints } from '../core/code-points.js';
import { decodeText } from '../core/text.js';
import { invalidFile } from '../errors.js';
import { readLocalFile } from '../store/local.js';
import { fileImages, type ImageFilesOptions } from './file-images.js';
import { isImageName } from './file-names.js';
import type { ImageSource } from './source.js';

/** The longest text that V8 holds: about 8 million paths. */
const MAX_LIST_BYTES = 2 ** 29 - 32;
/** 2^32 - 1 means "no class" in packed images. */
const MAX_CLASS_INDEX = 2 ** 32 - 2;

/**
 * The images that a text file lists, one per line, in its order: `path`, `path<tab>class name` or
 * `path class-index` (as in Caffe's lists; also with a tab if all classes are numbers). Paths are relative to `root`, by
 * default the list's own folder, or absolute. Empty lines and lines that begin with `#` are skipped, as is a byte-order mark.
 *
 * @throws `NOT_FOUND` if there is no such file, `INVALID_FILE` naming the line that is wrong.
 */
export async function imageList(
  file: string,
  { root = dirname(file), ...options }: ImageFilesOptions & { readonly root?: string } = {},
): Promise<ImageSource> {
  if (isImageName(file)) {
    throw invalidFile(file, 'content', 'one image is no data set', {
      expected: 'a folder of images, or a text file that lists them',
    });
  }
  const text = decodeText(file, 'content', await readLocalFile(file, MAX_LIST_BYTES));
  const entries = text
    .split(/\r?\n/)
    .flatMap((line, i) => (/^\s*(#|$)/.test(line) ? [] : [listEntry(file, i + 1, line)]));
  if (entries.length === 0) throw invalidFile(file, 'content', 'no images', { found: 'no lines' });
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
  if (!isImageName(path)) {
    throw invalidFile(file, `line ${line}`, 'not an image file', {
      expected: 'a path, then at most a tab and a class name, or a space and a class index',
      found: text,
    });
  }
  const index = named === null ? numbered?.[2] : undefined;
  if (index !== undefined) return { line, path, target: classIndex(file, line, index) };
  return named === null ? { line, path } : { line, path, target: named[2] };
}

function classIndex(file: string, line: number, text: string): number {
  const index = Number(text);
  if (index <= MAX_CLASS_INDEX) return index;
  throw invalidFile(file, `line ${line}`, 'class index out of range', {
    expected: `at most ${MAX_CLASS_INDEX}`,
    found: text,
  });
}

/** Names are numbered in the order of code points; lists of indices keep theirs. All lines have a class, or none. */
function listedClasses(file: string, entries: readonly ListEntry[]) {
  const kind = typeof entries[0].target;
  const odd = entries.find(({ target }) => typeof target !== kind);
  if (odd !== undefined) {
    throw invalidFile(file, `line ${odd.line}`, 'lines of different kinds', {
      expected: { undefined: 'no class', string: 'a class name', number: 'a class index' }[
        kind as 'undefined'
      ],
      found: odd.target ?? 'no class',
    });
  }
  if (kind === 'undefined') return {};
  const targets = entries.map(({ target }) => target as string | number);
  if (kind === 'number') return { targets: targets as number[] };
  if (targets.every((name) => /^\d+$/.test(name as string))) {
    return { targets: entries.map(({ line, target }) => classIndex(file, line, String(target))) };
  }
  const classNames = [...new Set(targets as string[])].sort(compareCodePoints);
  const indices = new Map(classNames.map((name, i) => [name, i]));
  return { classNames, targets: targets.map((name) => indices.get(name as string) as number) };
}
