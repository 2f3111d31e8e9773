import type { PixelSource } from '../../augment/replay.js';
import type { DecodedImage } from '../decode.js';
import { DecodedImages, requireSample, throwIfStopped } from '../decoded-images.js';
import type { ImageReader } from '../image-reader.js';
import type { PackedFiles } from './packed-files.js';
import type { PackedIndex } from './packed-index.js';

/** Reads pixels as they lie in the file into one buffer, which every call reuses. */
export class RawReader implements ImageReader {
  readonly count: number;
  readonly #index: PackedIndex;
  readonly #files: PackedFiles;
  #buffer = new Uint8Array(0);

  constructor(index: PackedIndex, files: PackedFiles) {
    this.count = index.lengths.length;
    this.#index = index;
    this.#files = files;
  }

  async read(samples: Uint32Array, stopped?: () => boolean): Promise<PixelSource> {
    const { lengths, sizes } = this.#index;
    const ids = [...new Set(samples)];
    for (const sample of ids) requireSample(sample, this.count);
    const bytes = ids.reduce((sum, sample) => sum + lengths[sample], 0);
    if (this.#buffer.length < bytes) this.#buffer = new Uint8Array(bytes);
    const images = new Map<number, DecodedImage>();
    let at = 0;
    // In the order of the file, so that reads are sequential.
    for (const sample of ids.sort((a, b) => a - b)) {
      throwIfStopped(stopped);
      const pixels = this.#buffer.subarray(at, at + lengths[sample]);
      this.#files.read(sample, pixels);
      images.set(sample, { pixels, height: sizes[2 * sample], width: sizes[2 * sample + 1] });
      at += pixels.length;
    }
    return new DecodedImages(this.count, images);
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }
}
