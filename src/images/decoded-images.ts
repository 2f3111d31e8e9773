import type { PixelSource } from '../augment/replay.js';
import { SoftpackError } from '../errors.js';
import type { DecodedImage } from './decode.js';

/** Decoded images by sample id. */
export class DecodedImages implements PixelSource {
  readonly count: number;
  readonly #images: ReadonlyMap<number, DecodedImage>;

  constructor(count: number, images: ReadonlyMap<number, DecodedImage>) {
    this.count = count;
    this.#images = images;
  }

  sizeOf(sample: number): readonly [number, number] {
    const { height, width } = this.#at(sample);
    return [height, width];
  }

  pixels(sample: number): Uint8Array {
    return this.#at(sample).pixels;
  }

  #at(sample: number): DecodedImage {
    const image = this.#images.get(sample);
    if (image !== undefined) return image;
    throw new SoftpackError('INVALID_ARGUMENT', 'not among the samples read', {
      field: 'samples',
      found: sample,
    });
  }
}

export function requireSample(sample: number, count: number): number {
  if (sample < count) return sample;
  throw new SoftpackError('INVALID_ARGUMENT', 'no such sample', {
    field: 'samples',
    expected: `< ${count}`,
    found: sample,
  });
}

export function throwIfStopped(stopped: (() => boolean) | undefined): void {
  if (stopped?.()) throw new SoftpackError('ABORTED', 'aborted');
}
