import type { Normalisation } from '../augment/replay.js';

type Size = readonly [number, number];

/** The mean colour everywhere but for the patch in its centre: normalised, so the mean is zero. */
export function padPatch(patch: Float32Array, [h, w]: Size, [height, width]: Size): Float32Array {
  if (h === height && w === width) return patch;
  const padded = new Float32Array(height * width * 3);
  const [top, left] = [(height - h) >> 1, (width - w) >> 1];
  for (let y = 0; y < h; y++) {
    padded.set(patch.subarray(y * w * 3, (y + 1) * w * 3), ((top + y) * width + left) * 3);
  }
  return padded;
}

/** float32 arithmetic takes an exact pixel at most this far below its value, of 255. */
const SLACK = 1e-3;

/** Pixels of normalised values, truncated to whole numbers as RDED, SRe2L and CDA do. */
export function toPixels(values: Float32Array, { mean, std }: Normalisation): Uint8Array {
  return Uint8Array.from(values, (value, i) => {
    const pixel = 255 * (value * std[i % 3] + mean[i % 3]) + SLACK;
    return Math.max(0, Math.min(255, Math.floor(pixel)));
  });
}

/** Normalised float32 values of pixels, written to `out`. */
export function normalisePixels(
  pixels: Uint8Array,
  { mean, std }: Normalisation,
  out: Float32Array,
): void {
  for (let i = 0; i < pixels.length; i++) {
    out[i] = (pixels[i] / 255 - mean[i % 3]) / std[i % 3];
  }
}

/**
 * One image of factor x factor patches, row by row; where `size` is no multiple of the factor, the grid is stretched to
 * it by the nearest pixel.
 */
export function stitch(
  patches: readonly Uint8Array[],
  [h, w]: Size,
  factor: number,
  [height, width]: Size,
): Uint8Array {
  const out = new Uint8Array(height * width * 3);
  const nearest = (at: number, to: number, from: number) => Math.floor((at * from) / to);
  for (let y = 0; y < height; y++) {
    const fromY = nearest(y, height, h * factor);
    for (let x = 0; x < width; x++) {
      const fromX = nearest(x, width, w * factor);
      const patch = patches[Math.floor(fromY / h) * factor + Math.floor(fromX / w)];
      const from = ((fromY % h) * w + (fromX % w)) * 3;
      out.set(patch.subarray(from, from + 3), (y * width + x) * 3);
    }
  }
  return out;
}
