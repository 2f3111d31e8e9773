import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import type { ImageFit } from './decode.js';
import type { SkippedFiles } from './listing.js';
import type { ImageSource } from './source.js';
import { textTable } from './text-table.js';

export interface ImageFilesOptions {
  /** Resizes every image as it is decoded; default: sizes are kept. */
  readonly fit?: ImageFit;
}

export interface FileImagesParts extends ImageFilesOptions {
  readonly classNames?: readonly string[];
  readonly targets?: ArrayLike<number>;
  readonly skipped?: SkippedFiles;
}

/** Image files by their paths below a folder. */
export function fileImages(
  root: string,
  names: readonly string[],
  { fit, classNames, targets, skipped }: FileImagesParts,
): ImageSource {
  const hash = createHash('sha256').update(JSON.stringify({ kind: 'files', fit }));
  for (const name of names) hash.update(`\n${name}`);
  return {
    count: names.length,
    ...(classNames && { classNames }),
    ...(targets && { targets: Uint32Array.from(targets) }),
    ...(skipped !== undefined &&
      skipped.count > 0 && { skipped: { count: skipped.count, examples: skipped.examples } }),
    id: hash.digest('hex'),
    description: { kind: 'files', root: resolve(root), names: textTable(names), fit },
  };
}
