import { resolve } from 'node:path';
import { loadXxh64 } from '../container/checksum.js';
import { argument } from '../core/check.js';
import type { DecodedImage, ImageFit } from './decode.js';
import { DecodingReader } from './decoding-reader.js';
import { readImageFile } from './image-file.js';
import type { ImageReader } from './image-reader.js';
import { memoryImages } from './memory.js';
import { PackedFiles } from './packed/packed-files.js';
import { RawReader } from './packed/raw-reader.js';
import { type ImagesDescription, imageCount } from './source.js';
import { textAt } from './text-table.js';

export interface ImageReaderOptions {
  /** Images decoded at a time, on libuv's threads. Default 1, for one reader per thread. */
  readonly concurrency?: number;
}

export async function openImageReader(
  description: ImagesDescription,
  { concurrency = 1 }: ImageReaderOptions = {},
): Promise<ImageReader> {
  argument.count(concurrency, 'concurrency', 1, 1024);
  const count = imageCount(description);
  switch (description.kind) {
    case 'memory': {
      const { data, height, width } = description;
      const pixels = memoryImages(data, height, width);
      return { count, read: async () => pixels, [Symbol.dispose]() {} };
    }
    case 'files': {
      const decode = await loadDecoder(description.fit);
      const { root, names } = description;
      return new DecodingReader(count, concurrency, async (sample) => {
        const path = resolve(root, textAt(names, sample));
        return decode(await readImageFile(path), path);
      });
    }
    case 'packed': {
      const files = new PackedFiles(description.index, await loadXxh64());
      if (description.index.encoding === 'raw') return new RawReader(description.index, files);
      const decode = await loadDecoder(undefined);
      const read = async (sample: number) => {
        const encoded = new Uint8Array(description.index.lengths[sample]);
        files.read(sample, encoded);
        return decode(encoded, `${files.shardOf(sample).path}: image ${sample}`);
      };
      return new DecodingReader(count, concurrency, read, files);
    }
  }
}

type Decode = (encoded: Uint8Array, name: string) => Promise<DecodedImage>;

/** Loaded only by readers that decode: other threads start faster without it. */
async function loadDecoder(fit: ImageFit | undefined): Promise<Decode> {
  const { decodeImage, prepareDecoder } = await import('./decode.js');
  prepareDecoder();
  return (encoded, name) => decodeImage(encoded, name, fit);
}
