import type { PixelSource } from '../augment/replay.js';
import type { ImageReader } from './image-reader.js';

interface KeptImage {
  readonly pixels: Uint8Array;
  readonly size: readonly [number, number];
}

/**
 * Keeps the first images that a reader decodes, up to a number of bytes: small data sets, and a part of large ones, are
 * decoded once instead of in every epoch. The caller disposes of the reader.
 */
export function rememberImages(reader: ImageReader, bytes: number): ImageReader {
  const kept = new Map<number, KeptImage>();
  let left = bytes;
  return {
    count: reader.count,
    async read(samples, stopped) {
      const missing = samples.filter((sample) => !kept.has(sample));
      const fresh = missing.length > 0 ? await reader.read(missing, stopped) : undefined;
      for (const sample of missing) {
        const pixels = fresh?.pixels(sample);
        if (fresh === undefined || pixels === undefined || kept.has(sample)) continue;
        if (pixels.length > left) continue;
        left -= pixels.length;
        // A copy: the reader may reuse its memory.
        kept.set(sample, { pixels: pixels.slice(), size: fresh.sizeOf(sample) });
      }
      return joined(reader.count, kept, fresh);
    },
    [Symbol.dispose]() {
      kept.clear();
    },
  };
}

function joined(
  count: number,
  kept: ReadonlyMap<number, KeptImage>,
  fresh: PixelSource | undefined,
): PixelSource {
  const other = (sample: number): PixelSource => {
    if (fresh === undefined) throw new Error(`sample ${sample} was not read`);
    return fresh;
  };
  return {
    count,
    sizeOf: (sample) => kept.get(sample)?.size ?? other(sample).sizeOf(sample),
    pixels: (sample) => kept.get(sample)?.pixels ?? other(sample).pixels(sample),
  };
}
