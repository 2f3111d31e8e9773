import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Augmenter } from '#src/augment/augmenter.js';
import { type PixelSource, renderViews, renderWhole } from '#src/augment/replay.js';
import type { AugmentationSpec } from '#src/augment/spec.js';

const raw = { mean: [0, 0, 0], std: [1, 1, 1] } as const;
const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

const spec: AugmentationSpec = {
  generator: 'philox4x32-10',
  seed: 9,
  size: [13, 11],
  crop: { scale: [0.2, 1], ratio: [0.5, 2] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 0.8 },
};

/** Images of pseudo-random pixels, each sample of its own size. */
function noise(count: number): PixelSource {
  const sizes = Array.from({ length: count }, (_, i) => [7 + (i % 5), 9 + (i % 4)] as const);
  const pixels = sizes.map(([h, w], i) =>
    Uint8Array.from({ length: h * w * 3 }, (_, j) => ((i * 31 + j) * 2654435761) >>> 24),
  );
  return { count, sizeOf: (sample) => sizes[sample], pixels: (sample) => pixels[sample] };
}

function render(augmenter: Augmenter, images: PixelSource, epoch: number, ids: number[]) {
  const out = new Float32Array(ids.length * 13 * 11 * 3).fill(Number.NaN);
  renderViews(augmenter, images, epoch, Uint32Array.from(ids), imagenet, out);
  return out;
}

/** One pixel of a view by the textbook bilinear formula in float64. */
function pixelOf(
  images: PixelSource,
  sample: number,
  crop: readonly number[],
  mirrored: boolean,
  [y, x, channel]: readonly [number, number, number],
): number {
  const column = mirrored ? 10 - x : x;
  const width = images.sizeOf(sample)[1];
  const at = (position: number, size: number, length: number) => {
    const source = ((position + 0.5) * length) / size - 0.5;
    const first = Math.floor(source);
    const clamp = (value: number) => Math.min(Math.max(value, 0), length - 1);
    return [clamp(first), clamp(first + 1), source - first];
  };
  const [y0, y1, wy] = at(y, 13, crop[2]);
  const [x0, x1, wx] = at(column, 11, crop[3]);
  const tap = (r: number, c: number) =>
    images.pixels(sample)[((crop[0] + r) * width + crop[1] + c) * 3 + channel];
  const top = tap(y0, x0) * (1 - wx) + tap(y0, x1) * wx;
  const bottom = tap(y1, x0) * (1 - wx) + tap(y1, x1) * wx;
  const value = (top * (1 - wy) + bottom * wy) / 255;
  return (value - imagenet.mean[channel]) / imagenet.std[channel];
}

describe('renderViews', () => {
  test('agrees with float64 bilinear sampling of crop, flip and CutMix', () => {
    const images = noise(20);
    const augmenter = new Augmenter(spec, images);
    const ids = Array.from({ length: 20 }, (_, i) => i);
    const records = augmenter.batch(4, Uint32Array.from(ids));
    const out = render(augmenter, images, 4, ids);
    let mixed = 0;
    let worst = 0;
    for (const id of ids) {
      const [top, left, height, width] = records.box.subarray(id * 4, id * 4 + 4);
      mixed += Number(height > 0);
      for (let y = 0; y < 13; y++) {
        for (let x = 0; x < 11; x++) {
          const inside = y >= top && y < top + height && x >= left && x < left + width;
          const shown = inside ? records.partner[id] : id;
          const crop = augmenter.crop(4, shown);
          const mirrored = augmenter.flip(4, shown) === 1;
          for (let channel = 0; channel < 3; channel++) {
            const expected = pixelOf(images, shown, crop, mirrored, [y, x, channel]);
            const found = out[((id * 13 + y) * 11 + x) * 3 + channel];
            worst = Math.max(worst, Math.abs(found - expected));
          }
        }
      }
    }
    expect(mixed).toBeGreaterThan(5);
    // Weights are rounded to 2^-11 in each direction: at most 2 * 2^-12 of full scale, over std 0.224.
    expect(worst).toBeLessThan((2 * 2 ** -12 + 2 ** -16) / 0.224 + 1e-6);
  });

  test('gives the same bytes whatever else is in the batch', () => {
    const images = noise(20);
    const augmenter = new Augmenter(spec, images);
    const alone = Array.from({ length: 20 }, (_, id) => render(augmenter, images, 1, [id]));
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 19 }), { maxLength: 8 }), (ids) => {
        const together = render(augmenter, images, 1, ids);
        for (const [i, id] of ids.entries()) {
          expect(together.subarray(i * 429, (i + 1) * 429)).toEqual(alone[id]);
        }
      }),
    );
  });

  test('refuses an output of the wrong length', () => {
    const images = noise(2);
    const call = () =>
      renderViews(
        new Augmenter(spec, images),
        images,
        0,
        Uint32Array.of(0),
        raw,
        new Float32Array(5),
      );
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'out' }));
  });
});

test('renderWhole at the stored size returns the pixels', () => {
  const images = noise(3);
  const [height, width] = images.sizeOf(2);
  const out = new Float32Array(height * width * 3).fill(Number.NaN);
  renderWhole(images, Uint32Array.of(2), [height, width], raw, out);
  const expected = Array.from(images.pixels(2), (value) => value / 255);
  for (const [i, value] of expected.entries()) expect(out[i]).toBeCloseTo(value, 6);
});
