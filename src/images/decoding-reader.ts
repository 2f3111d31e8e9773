import type { PixelSource } from '../augment/replay.js';
import type { DecodedImage } from './decode.js';
import { DecodedImages, requireSample, throwIfStopped } from './decoded-images.js';
import type { ImageReader } from './image-reader.js';

/** Images that must be decoded, several at a time. */
export class DecodingReader implements ImageReader {
  readonly count: number;
  readonly #concurrency: number;
  readonly #decode: (sample: number) => Promise<DecodedImage>;
  readonly #files: Disposable | undefined;

  constructor(
    count: number,
    concurrency: number,
    decode: (sample: number) => Promise<DecodedImage>,
    files?: Disposable,
  ) {
    this.count = count;
    this.#concurrency = concurrency;
    this.#decode = decode;
    this.#files = files;
  }

  async read(samples: Uint32Array, stopped?: () => boolean): Promise<PixelSource> {
    const ids = [...new Set(samples)];
    const images = new Map<number, DecodedImage>();
    let next = 0;
    const decodeSome = async () => {
      while (next < ids.length) {
        const sample = requireSample(ids[next++], this.count);
        throwIfStopped(stopped);
        images.set(sample, await this.#decode(sample));
      }
    };
    const lanes = Math.min(this.#concurrency, ids.length);
    // All lanes end before an error is reported, so that none continues after the call.
    const ended = await Promise.allSettled(Array.from({ length: lanes }, decodeSome));
    const failed = ended.find((lane) => lane.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return new DecodedImages(this.count, images);
  }

  [Symbol.dispose](): void {
    this.#files?.[Symbol.dispose]();
  }
}
