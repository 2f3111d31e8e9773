import type { PixelSource } from '../augment/replay.js';
import { throwIfAborted } from '../errors.js';
import { eachAtOnce, type ImageFolder } from './folder.js';

/** Images of any sizes, decoded, one after the other in memory that threads share. */
export interface DecodedImages {
  /** [sum of height * width * 3] bytes, over a SharedArrayBuffer. */
  readonly data: Uint8Array<SharedArrayBuffer>;
  /** [count, 2]: height and width, pixels. */
  readonly sizes: Uint32Array;
}

/** Decodes a whole folder (sharp uses its own threads); as large as `folder.decodedBytes`. */
export async function decodeFolder(
  folder: ImageFolder,
  options: {
    readonly onProgress?: (done: number, total: number) => void;
    readonly signal?: AbortSignal;
  } = {},
): Promise<DecodedImages> {
  const { onProgress, signal } = options;
  const data = new Uint8Array(new SharedArrayBuffer(folder.decodedBytes));
  const offsets = offsetsOf(folder.sizes);
  let done = 0;
  await eachAtOnce(folder.count, DECODES_AT_ONCE, async (sample) => {
    throwIfAborted(signal);
    data.set(await folder.decode(sample), offsets[sample]);
    done += 1;
    onProgress?.(done, folder.count);
  });
  return { data, sizes: folder.sizes };
}

const DECODES_AT_ONCE = 8;

/** Decoded images by sample id. */
export function decodedPixels({ data, sizes }: DecodedImages): PixelSource {
  const offsets = offsetsOf(sizes);
  return {
    count: sizes.length / 2,
    sizeOf: (sample) => [sizes[2 * sample], sizes[2 * sample + 1]],
    pixels: (sample) => data.subarray(offsets[sample], offsets[sample + 1]),
  };
}

/** Byte at which each image begins, and after the last its end. */
function offsetsOf(sizes: Uint32Array): Float64Array {
  const offsets = new Float64Array(sizes.length / 2 + 1);
  for (let i = 0; i < sizes.length / 2; i++) {
    offsets[i + 1] = offsets[i] + 3 * sizes[2 * i] * sizes[2 * i + 1];
  }
  return offsets;
}
