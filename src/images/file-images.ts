import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { argument } from '../core/check.js';
import { MAX_SIDE } from '../core/limits.js';
import type { ImageFit } from './decode.js';
import { MAX_PIXELS } from './formats/image-bytes.js';
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
  if (fit !== undefined) requireFit(fit);
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

/** Checks that the kernels take these sides and that the image has no more pixels than allowed. */
function requireFit(fit: ImageFit): void {
  if (fit.kind === 'short-side') {
    argument.count(fit.pixels, 'fit.pixels', 1, MAX_SIDE);
    return;
  }
  argument.oneOf(fit.kind, 'fit.kind', ['exact', 'short-side']);
  const sides = argument.list(fit.size, 'fit.size');
  const [height, width] = sides.map((side) => argument.count(side, 'fit.size', 1, MAX_SIDE));
  argument.that(sides.length === 2, sides, 'fit.size', 'height and width');
  const small = height * width <= MAX_PIXELS;
  argument.that(small, fit.size, 'fit.size', `at most ${MAX_PIXELS} pixels`);
}
