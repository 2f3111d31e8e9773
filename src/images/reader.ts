import { resolve } from 'node:path';
import { loadXxh64 } from '../container/checksum.js';
import { argument } from '../core/check.js';
import { decodeImage } from './decode.js';
import { DecodingReader } from './decoding-reader.js';
import { readImageFile } from './image-file.js';
import type { ImageReader } from './image-reader.js';
import { JoinedReader } from './joined.js';
import { loadLibvips } from './libvips.js';
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
    case 'joined':
      return joinedReader(description.sections, { concurrency });
    case 'memory': {
      const { data, height, width } = description;
      const pixels = memoryImages(data, height, width);
      return { count, read: async () => pixels, [Symbol.dispose]() {} };
    }
    case 'files': {
      await loadLibvips();
      const { root, names, fit } = description;
      return new DecodingReader(count, concurrency, async (sample) => {
        const path = resolve(root, textAt(names, sample));
        return decodeImage(await readImageFile(path), path, fit);
      });
    }
    case 'packed': {
      const files = new PackedFiles(description.index, await loadXxh64());
      if (description.index.encoding === 'raw') return new RawReader(description.index, files);
      await loadLibvips();
      const read = async (sample: number) => {
        const encoded = new Uint8Array(description.index.lengths[sample]);
        files.read(sample, encoded);
        return decodeImage(encoded, `${files.shardOf(sample).path}: image ${sample}`);
      };
      return new DecodingReader(count, concurrency, read, files);
    }
  }
}

async function joinedReader(
  sections: readonly ImagesDescription[],
  options: ImageReaderOptions,
): Promise<ImageReader> {
  const readers: ImageReader[] = [];
  try {
    for (const section of sections) readers.push(await openImageReader(section, options));
  } catch (error) {
    for (const reader of readers) reader[Symbol.dispose]();
    throw error;
  }
  return new JoinedReader(readers);
}
