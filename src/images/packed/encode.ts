import { resolve } from 'node:path';
import { throwIfAborted } from '../../errors.js';
import { decodeImage, encodeJpeg, isJpeg } from '../decode.js';
import { readImageFile } from '../image-file.js';
import type { FilesDescription } from '../source.js';
import { textAt } from '../text-table.js';
import type { ImageEncoding } from './manifest.js';

/** One image as it is stored. */
export interface StoredImage {
  readonly bytes: Uint8Array;
  /** Whether decoding gives the exact pixels of the file. */
  readonly faithful: boolean;
  readonly height: number;
  readonly width: number;
}

export interface EncodeOptions {
  readonly images: FilesDescription;
  readonly encoding: ImageEncoding;
  readonly quality: number;
  readonly concurrency: number;
  readonly signal?: AbortSignal;
}

/** Images from `first` on as they will be stored, in order, some encoded ahead. */
export async function* encodeImages(
  options: EncodeOptions,
  first: number,
): AsyncGenerator<StoredImage, void, undefined> {
  const { images, concurrency, signal } = options;
  const ahead: Promise<StoredImage>[] = [];
  let next = first;
  try {
    for (;;) {
      while (next < images.names.count && ahead.length < concurrency) {
        const image = encodeOne(options, next++);
        image.catch(() => undefined); // Reported when its turn comes.
        ahead.push(image);
      }
      throwIfAborted(signal);
      const image = await ahead.shift();
      if (image === undefined) return;
      yield image;
    }
  } finally {
    await Promise.allSettled(ahead);
  }
}

async function encodeOne(
  { images, encoding, quality }: EncodeOptions,
  sample: number,
): Promise<StoredImage> {
  const path = resolve(images.root, textAt(images.names, sample));
  const encoded = await readImageFile(path);
  if (encoding === 'raw') {
    const { pixels, height, width } = await decodeImage(encoded, path, images.fit);
    return { bytes: pixels, height, width, faithful: true };
  }
  if (images.fit === undefined && isJpeg(encoded)) {
    const { height, width } = await decodeImage(encoded, path); // Also proves that it is complete.
    return { bytes: encoded, height, width, faithful: true };
  }
  const jpeg = await encodeJpeg(encoded, path, quality, images.fit);
  return { ...jpeg, faithful: false };
}
