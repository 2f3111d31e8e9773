import type { ImageFit } from './decode.js';
import { isMemoryImages, type MemoryImages } from './memory.js';
import type { PackedIndex } from './packed/packed-index.js';
import type { TextTable } from './text-table.js';

/**
 * Images by sample id, wherever they are kept. Made by {@link imageFolder}, {@link imageList} and
 * {@link openImages}; images in memory (`memoryImages`) are accepted wherever a source is.
 */
export interface ImageSource {
  readonly count: number;
  /** Names of the classes, if they are known. */
  readonly classNames?: readonly string[];
  /** [count], index of each sample's class, if it is known. */
  readonly targets?: Uint32Array;
  /** Files that look like images and were left out, and the first of them; absent if there are none. */
  readonly skipped?: { readonly count: number; readonly examples: readonly string[] };
  /**
   * Identifies these images, hex: by their paths and decoding, not by every pixel, so that it costs nothing. Packed images
   * that decode to the exact pixels of the files they were made from have their id.
   */
  readonly id: string;
  /** Of joined images, in order: see `joinImages`. */
  readonly sections?: readonly (ImageSource | MemoryImages)[];
  /** Plain data, from which `openImageReader` reads the same images in any thread. */
  readonly description: ImagesDescription;
}

/** Location of images: can be sent to another thread at no cost, as large parts are shared. */
export type ImagesDescription =
  | {
      readonly kind: 'memory';
      readonly data: Uint8Array;
      readonly height: number;
      readonly width: number;
    }
  | FilesDescription
  | {
      readonly kind: 'packed';
      readonly index: PackedIndex;
    }
  | {
      /** One after the other in sample ids. */
      readonly kind: 'joined';
      readonly sections: readonly ImagesDescription[];
    };

export interface FilesDescription {
  readonly kind: 'files';
  readonly root: string;
  /** Paths below the root, or absolute. */
  readonly names: TextTable;
  readonly fit?: ImageFit;
}

export function describeImages(images: ImageSource | MemoryImages): ImagesDescription {
  if (!isMemoryImages(images)) return images.description;
  const { data, height, width } = images;
  return { kind: 'memory', data, height, width };
}

export function imageCount(description: ImagesDescription): number {
  switch (description.kind) {
    case 'memory':
      return description.data.length / (description.height * description.width * 3);
    case 'files':
      return description.names.count;
    case 'packed':
      return description.index.lengths.length;
    case 'joined':
      return description.sections.reduce((sum, section) => sum + imageCount(section), 0);
  }
}
