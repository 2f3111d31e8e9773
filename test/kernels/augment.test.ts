import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AugmentArgs, RESAMPLES, ROUNDS, VIEW } from '#src/kernels/augment-args.js';
import { bytesOf, cpu, guarded, randomStream, reference } from './support.js';

const normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

/** Random images, crops, flips and mixes of every kind, all from one seed. */
function randomViews(seed: number, size: readonly [number, number], count: number) {
  const random = randomStream(seed);
  const below = (bound: number) => Math.floor(random() * bound);
  const sides = Array.from({ length: 4 }, () => [1 + below(20), 1 + below(50)] as const);
  const images = sides.map(([height, width]) =>
    Uint8Array.from({ length: height * width * 3 }, () => below(256)),
  );
  const box = (height: number, width: number, least: number) => {
    const [h, w] = [least + below(height + 1 - least), least + below(width + 1 - least)];
    return [below(height - h + 1), below(width - w + 1), h, w];
  };
  const part = () => {
    const image = below(4);
    return [image, ...box(...sides[image], 1), below(2)];
  };
  const views = Array.from({ length: count }, (_, i) => {
    const [own, other] = [part(), part()];
    if (i % 3 === 0) other[0] = -1;
    return [...own, ...other, ...(i % 3 === 1 ? box(...size, 0) : [0, 0, 0, 0])];
  });
  return {
    images,
    sizes: Uint32Array.from(sides.flat()),
    views: Int32Array.from(views.flat()),
    weights: Float32Array.from({ length: count }, () => random()),
    size,
    normalisation,
    resample: RESAMPLES[seed % 2],
    round: ROUNDS[(seed >> 1) % 2],
  };
}

const outLength = ({ size, weights }: Pick<AugmentArgs, 'size' | 'weights'>) =>
  weights.length * size[0] * size[1] * 3;

describe('augment', () => {
  it('gives the bytes of the reference, for any sizes, views and threads', async () => {
    const side = fc.integer({ min: 1, max: 60 });
    await fc.assert(
      fc.asyncProperty(fc.nat(), side, side, fc.nat(7), async (seed, height, width, count) => {
        const args = randomViews(seed, [height, width], count);
        const expected = new Float32Array(outLength(args)).fill(Number.NaN);
        reference.augment({ ...args, out: expected });
        expect(expected.every(Number.isFinite)).toBe(true);
        for (const threads of [1, 3]) {
          const { view: out, intact } = guarded(Float32Array, expected.length, {
            shared: threads > 1,
          });
          if (threads === 1) cpu.augment({ ...args, out, threads });
          else await cpu.augmentAsync({ ...args, out, threads });
          expect(Buffer.compare(bytesOf(out), bytesOf(expected))).toBe(0);
          expect(intact()).toBe(true);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('blends a mixup of two views by their normalised values', () => {
    const args = randomViews(3, [6, 7], 3);
    const mixed = new Float32Array(outLength(args));
    cpu.augment({ ...args, out: mixed });
    const alone = (from: number) => {
      const views = new Int32Array(VIEW.fields);
      views.set(args.views.subarray(2 * VIEW.fields + from, 2 * VIEW.fields + from + 6));
      views[VIEW.partner] = -1;
      const out = new Float32Array(6 * 7 * 3);
      cpu.augment({ ...args, views, weights: new Float32Array(1), out });
      return out;
    };
    const [own, other, weight] = [alone(0), alone(VIEW.partner), args.weights[2]];
    for (const [i, value] of mixed.subarray(2 * 6 * 7 * 3).entries()) {
      expect(value).toBeCloseTo(own[i] * weight + other[i] * (1 - weight), 5);
    }
  });

  it('reads images from views of shared memory', () => {
    const args = randomViews(8, [9, 9], 4);
    const expected = new Float32Array(outLength(args));
    cpu.augment({ ...args, out: expected });
    const images = args.images.map((image) => {
      const shared = new Uint8Array(new SharedArrayBuffer(image.length + 3), 3);
      shared.set(image);
      return shared;
    });
    const out = new Float32Array(expected.length);
    cpu.augment({ ...args, images, out });
    expect(out).toEqual(expected);
  });

  const change = (at: number, value: number) => {
    const views = randomViews(1, [5, 5], 2).views.slice();
    views[VIEW.fields + at] = value;
    return { views };
  };
  it.each([
    ['out', { out: new Float32Array(3) }],
    ['size[0]', { size: [0, 5] }],
    ['size[1]', { size: [5, 70_000] }],
    [
      'images[0]',
      { images: [new Uint8Array(1), new Uint8Array(), new Uint8Array(), new Uint8Array()] },
    ],
    ['sizes', { images: [] }],
    ['resample', { resample: 'bicubic' }],
    ['round', { round: 'u16' }],
    ['views', { views: new Int32Array(17) }],
    ['weights', { weights: new Float32Array(5) }],
    ['weights[1]', { ...change(VIEW.box + 2, 0), weights: Float32Array.of(0, Number.NaN) }],
    ['normalisation', { normalisation: { mean: [0, 0, 0], std: [1, 0, 1] } }],
    ['views[1]: image', change(VIEW.image, 4)],
    ['views[1]: flip of image', change(VIEW.flip, 2)],
    ['views[1]: crop of image', change(VIEW.crop + 3, 60)],
    ['views[1]: partner', change(VIEW.partner, -2)],
    ['views[1]: box', change(VIEW.box, -1)],
  ] as const)('refuses a wrong %s', (field, wrong) => {
    const args = randomViews(1, [5, 5], 2);
    const out = new Float32Array(outLength(args));
    for (const kernels of [cpu, reference]) {
      expect(() => kernels.augment({ ...args, out, ...wrong } as AugmentArgs)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', field }),
      );
    }
  });
});
