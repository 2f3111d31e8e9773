import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { type ImageFolderOptions, imageFolder } from './folder.js';
import { imageList } from './image-list.js';
import { packedState } from './packed/directory.js';
import { readPackedIndex } from './packed/packed-index.js';
import type { ImageSource } from './source.js';

export interface OpenImagesOptions extends ImageFolderOptions {
  /** `refuse-fit` (default): a `fit` for packed images is an error. `as-they-are`: it is ignored. */
  readonly packed?: 'refuse-fit' | 'as-they-are';
}

/**
 * Images at a path, which may be a folder that `softpack pack-images` wrote, a folder of images or
 * with one folder per class, or a text file that lists images.
 *
 * @throws `NOT_FOUND` if there is nothing, `INVALID_FILE` if it is none of these, `CORRUPT_DATA` if a packed file was
 *   changed, `INCOMPLETE` if it was never finished.
 */
export async function openImages(
  path: string,
  options: OpenImagesOptions = {},
): Promise<ImageSource> {
  argument.text(path, 'images');
  if (options.split !== undefined) argument.text(options.split, 'split');
  const found = await onFile(path, () => stat(path));
  if (!found.isDirectory()) return imageList(path, options);
  switch (await packedState(path)) {
    case 'finished':
      return packedSource(path, options);
    case 'unfinished':
      throw new SoftpackError('INCOMPLETE', 'packed images that were never finished', {
        field: join(path, MANIFEST_FILE),
      });
    case 'none':
      return imageFolder(path, options);
  }
}

/** Whether a path is a folder of packed images, finished or not. */
export async function isPacked(path: string): Promise<boolean> {
  const found = await onFile(path, () => stat(path));
  return found.isDirectory() && (await packedState(path)) !== 'none';
}

async function packedSource(path: string, options: OpenImagesOptions): Promise<ImageSource> {
  const fit = options.packed === 'as-they-are' ? undefined : options.fit;
  if (fit !== undefined || options.split !== undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'packed images keep their size and split', {
      field: fit === undefined ? 'split' : 'fit',
      expected: 'none',
    });
  }
  const { manifest, index } = await readPackedIndex(path);
  return {
    count: manifest.count,
    ...(manifest.classNames && { classNames: manifest.classNames }),
    ...(index.targets && { targets: index.targets }),
    id: manifest.sourceId ?? manifest.imagesId,
    description: { kind: 'packed', index },
  };
}
