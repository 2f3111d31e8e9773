import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gaussianRate } from '#src/codecs/math/gaussian-rate.js';

const rateAt = (variances: readonly number[], level: number) =>
  variances.reduce((bits, own) => bits + Math.max(0, Math.log2(own / level) / 2), 0);
const errorAt = (variances: readonly number[], level: number) =>
  variances.reduce((sum, own) => sum + Math.min(own, level), 0);

/** The level by bisection in float64, over all directions one by one. */
function reference(variances: readonly number[], distortion: number): number {
  const known = variances.filter((own) => own > 0);
  if (distortion >= known.reduce((sum, own) => sum + own, 0)) return 0;
  let [low, high] = [0, Math.max(...known)];
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2;
    if (errorAt(known, middle) > distortion) high = middle;
    else low = middle;
  }
  return rateAt(known, (low + high) / 2);
}

const variance = fc.oneof(fc.constant(0), fc.double({ min: 1e-6, max: 1e4, noNaN: true }));

test('is the least rate of all directions, found by bisection', () => {
  fc.assert(
    fc.property(
      fc.array(variance, { minLength: 1, maxLength: 20 }),
      fc.double({ min: 1e-3, max: 1.2, noNaN: true }),
      (variances, share) => {
        const distortion = share * variances.reduce((sum, own) => sum + own, 0);
        fc.pre(distortion > 0);
        const expected = reference(variances, distortion);
        expect(Math.abs(gaussianRate(variances, 0, distortion) - expected)).toBeLessThan(
          1e-9 * (1 + expected),
        );
      },
    ),
  );
});

test('of known directions, no allocation of error among them takes less', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.double({ min: 1e-3, max: 100, noNaN: true }),
          fc.double({ min: 1e-3, max: 1, noNaN: true }),
        ),
        { minLength: 1, maxLength: 8 },
      ),
      (directions) => {
        const errors = directions.map(([own, share]) => own * share);
        const bits = directions.reduce((sum, [, share]) => sum - Math.log2(share) / 2, 0);
        const distortion = errors.reduce((sum, own) => sum + own, 0);
        const variances = directions.map(([own]) => own);
        expect(gaussianRate(variances, 0, distortion)).toBeLessThanOrEqual(bits + 1e-9);
      },
    ),
  );
});

test('with directions that are known by their sum alone: never above the rate of all', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 1e-3, max: 100, noNaN: true }), { minLength: 2, maxLength: 20 }),
      fc.nat(18),
      fc.double({ min: 1e-3, max: 1.2, noNaN: true }),
      (values, cut, share) => {
        const all = [...values].sort((a, b) => b - a);
        const known = all.slice(0, 1 + (cut % (all.length - 1)));
        const rest = all.slice(known.length).reduce((sum, own) => sum + own, 0);
        const distortion = share * all.reduce((sum, own) => sum + own, 0);
        const exact = reference(all, distortion);
        const bound = gaussianRate(known, rest, distortion);
        expect(bound).toBeLessThanOrEqual(exact + 1e-9);
        // Above the largest unknown direction nothing is unknown.
        const level = known[known.length - 1];
        if (errorAt(all, level) <= distortion) expect(bound).toBeCloseTo(exact, 8);
      },
    ),
  );
});

test('is what one direction takes, and none for labels that are all the same', () => {
  expect(gaussianRate([16], 0, 1)).toBeCloseTo(2, 12);
  expect(gaussianRate([16, 16, 4], 0, 3)).toBeCloseTo(5, 12);
  expect(gaussianRate([0, 0], 0, 0)).toBe(0);
  expect(gaussianRate([4], 0, 0)).toBe(Number.POSITIVE_INFINITY);
});
