import type { PixelSource } from '../augment/replay.js';
import { allocateShared } from '../core/allocate.js';
import { argument } from '../core/check.js';
import { MAX_SIDE } from '../core/limits.js';
import { SoftpackError } from '../errors.js';

/** Images of one size in one array, shared with the workers: uint8 [count, height, width, 3]. */
export interface MemoryImages extends PixelSource {
  /** Over a SharedArrayBuffer. */
  readonly data: Uint8Array;
  readonly height: number;
  readonly width: number;
}

/**
 * Images from an array [count, height, width, 3]. Used directly if it lies in a SharedArrayBuffer, else copied
 * into one, so that worker threads read the same pixels.
 */
export function memoryImages(data: Uint8Array, height: number, width: number): MemoryImages {
  argument.count(height, 'height', 1, MAX_SIDE);
  argument.count(width, 'width', 1, MAX_SIDE);
  const stride = height * width * 3;
  if (data.length % stride !== 0) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not a whole number of images', {
      field: 'data',
      expected: `a multiple of ${stride} bytes`,
      found: data.length,
    });
  }
  let shared = data;
  if (!(data.buffer instanceof SharedArrayBuffer)) {
    shared = new Uint8Array(allocateShared(data.length, 'data'));
    shared.set(data);
  }
  const size = [height, width] as const;
  return {
    data: shared,
    height,
    width,
    count: data.length / stride,
    sizeOf: () => size,
    pixels: (sample) => shared.subarray(sample * stride, (sample + 1) * stride),
  };
}

/** True for images in memory, false for sources that are read and decoded. */
export function isMemoryImages(images: object): images is MemoryImages {
  return 'data' in images && 'pixels' in images;
}
