import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Augmenter } from '#src/augment/augmenter.js';
import { type AugmentationSpec, parseAugmentationSpec } from '#src/augment/spec.js';

const spec: AugmentationSpec = {
  generator: 'philox4x32-10',
  seed: 2026,
  size: [32, 32],
  crop: { scale: [0.3, 1], ratio: [3 / 4, 4 / 3] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 0.7 },
};
const images = { count: 1000, sizeOf: () => [36, 40] as const };

describe('records', () => {
  test('match the golden vectors', () => {
    const golden = JSON.parse(readFileSync(new URL('golden.json', import.meta.url), 'utf8'));
    const batch = new Augmenter(spec, images).batch(3, Uint32Array.from(golden.samples));
    expect({
      samples: golden.samples,
      crop: [...batch.crop],
      flip: [...batch.flip],
      partner: [...batch.partner],
      lambda: [...batch.lambda],
      box: [...batch.box],
    }).toEqual(golden);
  });

  test('depend on (seed, epoch, sample) alone, not on the batch', () => {
    const augmenter = new Augmenter(spec, images);
    const all = augmenter.batch(5, { start: 0, count: 1000 });
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat({ max: 999 }), { minLength: 1 }), (ids) => {
        const some = new Augmenter(spec, images).batch(5, Uint32Array.from(ids));
        for (const [i, id] of ids.entries()) {
          expect(some.crop.subarray(i * 4, i * 4 + 4)).toEqual(
            all.crop.subarray(id * 4, id * 4 + 4),
          );
          expect(some.box.subarray(i * 4, i * 4 + 4)).toEqual(all.box.subarray(id * 4, id * 4 + 4));
          expect([some.flip[i], some.partner[i], some.lambda[i]]).toEqual([
            all.flip[id],
            all.partner[id],
            all.lambda[id],
          ]);
        }
      }),
    );
  });

  test.each([1e-9, 5e-324])('are drawn at alpha %f, where Beta is 0 or 1', (alpha) => {
    const mix = { kind: 'mixup', alpha, probability: 1 } as const;
    const { lambda } = new Augmenter({ ...spec, mix }, images).batch(1, { start: 0, count: 60 });
    const ones = lambda.filter((share) => share === 1).length;
    expect(lambda.filter((share) => share === 0)).toHaveLength(60 - ones);
    // Outside with a probability below 1e-6 for 60 fair draws.
    expect(ones).toBeGreaterThan(10);
    expect(ones).toBeLessThan(50);
  });

  test('keep every box inside its image, and lambda equal to the uncovered share', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 50 }),
        fc.double({ min: 0.05, max: 1, noNaN: true }),
        fc.nat({ max: 60 }),
        (seed, height, width, alpha, epoch) => {
          const odd: AugmentationSpec = {
            ...spec,
            seed,
            size: [17, 9],
            mix: { kind: 'cutmix', alpha, probability: 1 },
          };
          const source = { count: 11, sizeOf: () => [height, width] as const };
          const batch = new Augmenter(odd, source).batch(epoch, { start: 0, count: 11 });
          for (let i = 0; i < 11; i++) {
            const [top, left, h, w] = batch.crop.subarray(i * 4);
            expect(top >= 0 && left >= 0 && h > 0 && w > 0).toBe(true);
            expect(top + h <= height && left + w <= width).toBe(true);
            const [y, x, boxHeight, boxWidth] = batch.box.subarray(i * 4);
            expect(y >= 0 && x >= 0 && y + boxHeight <= 17 && x + boxWidth <= 9).toBe(true);
            expect(batch.lambda[i]).toBe(Math.fround(1 - (boxHeight * boxWidth) / (17 * 9)));
            expect(batch.partner[i]).toBeLessThan(11);
            if (boxHeight * boxWidth === 0) expect(batch.partner[i]).toBe(i);
          }
        },
      ),
    );
  });

  test('have the frequencies that were asked for', () => {
    const big = new Augmenter(spec, { count: 20_000, sizeOf: () => [256, 256] });
    const batch = big.batch(0, { start: 0, count: 20_000 });
    const mean = (values: ArrayLike<number>) =>
      Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(batch.flip)).toBeCloseTo(0.5, 1);
    // At ratio 1 no crop is refused, so areas stay uniform on [0.3, 1]: sampling error below 0.002.
    const square = { ...spec, crop: { scale: [0.3, 1], ratio: [1, 1] } } as const;
    const { crop } = new Augmenter(square, big.images).batch(0, { start: 0, count: 20_000 });
    const areas = Array.from(batch.flip, (_, i) => crop[i * 4 + 2] * crop[i * 4 + 3]);
    expect(mean(areas) / 256 ** 2).toBeCloseTo(0.65, 2);
    const mixed = Array.from(batch.flip, (_, i) => Number(batch.box[i * 4 + 2] > 0));
    expect(mean(mixed)).toBeGreaterThan(0.6);
    expect(mean(mixed)).toBeLessThan(0.7);
  });

  test('take bounded time at any alpha, and are 0 or 1 each half of the time near 0', () => {
    for (const alpha of [Number.MIN_VALUE, 1e-300, 1e-9, 1e-6, 1e-5, 1e-4]) {
      const mix = { kind: 'mixup', alpha, probability: 1 } as const;
      const batch = new Augmenter({ ...spec, mix }, images).batch(0, { start: 0, count: 1000 });
      const zeros = batch.lambda.filter((lambda) => lambda < 0.01).length;
      expect(zeros).toBeGreaterThan(420);
      expect(zeros).toBeLessThan(580);
      expect(batch.lambda.every((lambda) => lambda < 0.01 || lambda > 0.99)).toBe(true);
    }
  });

  test('refuse a sample that is not there', () => {
    const call = () => new Augmenter(spec, images).batch(0, Uint32Array.of(1000));
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', found: 1000 }));
  });
});

describe('parseAugmentationSpec', () => {
  test('returns what was written', () => {
    expect(parseAugmentationSpec(JSON.parse(JSON.stringify(spec)))).toEqual(spec);
  });

  test.each([
    ['augmentation.generator', { generator: 'mt19937' }, 'UNSUPPORTED'],
    ['augmentation.seed', { seed: -1 }, 'INVALID_FILE'],
    ['augmentation.size', { size: [32] }, 'INVALID_FILE'],
    ['augmentation.crop', { crop: 1 }, 'INVALID_FILE'],
    ['augmentation.crop.scale', { crop: { scale: [0, 1], ratio: [1, 1] } }, 'INVALID_FILE'],
    ['augmentation.flip', { flip: 2 }, 'INVALID_FILE'],
    ['augmentation.mix.kind', { mix: { kind: 'blur' } }, 'INVALID_FILE'],
    [
      'augmentation.mix.alpha',
      { mix: { kind: 'cutmix', alpha: 2, probability: 1 } },
      'INVALID_FILE',
    ],
  ])('names the bad field %s', (field, change, code) => {
    const call = () => parseAugmentationSpec({ ...spec, ...change });
    expect(call).toThrow(expect.objectContaining({ code, field }));
  });
});
