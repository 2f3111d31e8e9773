import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { adaptLabels, ferkdOptions, type ShownClasses } from '#src/labels/ferkd.js';

const CLASSES = 6;

/** The label by FerKD's rule, from probabilities in float64 at temperature 1. */
function expectedOf(logits: readonly number[], shown: ShownClasses, threshold: number, e: number) {
  const { own, partner, share } = shown;
  const powers = logits.map((z) => Math.exp(z - Math.max(...logits)));
  const p = powers.map((x) => x / powers.reduce((a, b) => a + b, 0));
  const seen = own === partner ? p[own] : p[own] + p[partner];
  if (seen >= threshold) return p;
  const hard = p.map((_, c) => (c === own ? share : 0) + (c === partner ? 1 - share : 0));
  const others = own === partner ? CLASSES - 1 : CLASSES - 2;
  return hard.map((h, c) => (c === own || c === partner ? (1 - e) * h : e / others));
}

function probabilities(logits: ArrayLike<number>): number[] {
  const z = Array.from(logits);
  const powers = z.map((x) => Math.exp(x - Math.max(...z)));
  return powers.map((x) => x / powers.reduce((a, b) => a + b, 0));
}

test('labels that the teacher does not believe in become smoothed hard ones, others stay', () => {
  const value = fc.float({ min: -8, max: 8, noNaN: true });
  const label = fc.record({
    logits: fc.array(value, { minLength: CLASSES, maxLength: CLASSES }),
    own: fc.nat(CLASSES - 1),
    partner: fc.nat(CLASSES - 1),
    share: fc.double({ min: 0.01, max: 0.99, noNaN: true }),
  });
  const shares = fc.double({ min: 0.05, max: 0.95, noNaN: true });
  fc.assert(
    fc.property(fc.array(label, { minLength: 1 }), shares, shares, (labels, threshold, e) => {
      const rows = Float32Array.from(labels.flatMap(({ logits }) => logits));
      const before = rows.slice();
      const shown = labels.map(({ own, partner, share }) => ({
        ...{ own, partner, share: own === partner ? 1 : share },
      }));
      adaptLabels(rows, CLASSES, shown, { threshold, smoothing: e });
      for (const [i, { logits }] of labels.entries()) {
        const row = rows.subarray(i * CLASSES, (i + 1) * CLASSES);
        const kept = probabilities(logits);
        const seen = new Set([shown[i].own, shown[i].partner]);
        const confidence = [...seen].reduce((sum, c) => sum + kept[c], 0);
        // Rounding decides at the threshold itself.
        if (Math.abs(confidence - threshold) < 1e-6) continue;
        if (confidence > threshold)
          expect(row).toEqual(before.subarray(i * CLASSES, (i + 1) * CLASSES));
        const expected = expectedOf(logits, shown[i], threshold, e);
        for (const [c, p] of probabilities(row).entries()) expect(p).toBeCloseTo(expected[c], 5);
      }
    }),
  );
});

test('at another temperature hard labels soften as those of a teacher do', () => {
  const row = new Float32Array(CLASSES);
  row[3] = 9;
  adaptLabels(row, CLASSES, [{ own: 0, partner: 0, share: 1 }], ferkdOptions({}));
  const powers = [0.9, 0.02, 0.02, 0.02, 0.02, 0.02].map((p) => p ** (1 / 20));
  const sum = powers.reduce((a, b) => a + b, 0);
  const soft = probabilities(row.map((z) => z / 20));
  for (const [c, p] of soft.entries()) expect(p).toBeCloseTo(powers[c] / sum, 6);
});

describe('edges', () => {
  test('a view of the partner alone is of the partner class', () => {
    const row = new Float32Array(CLASSES);
    adaptLabels(row, CLASSES, [{ own: 1, partner: 2, share: 0 }], { threshold: 1, smoothing: 0.1 });
    const p = probabilities(row);
    expect(p[2]).toBeCloseTo(0.9, 5);
    expect(p[1]).toBeLessThan(1e-6);
    expect(row.every(Number.isFinite)).toBe(true);
  });

  test('two classes that are both shown leave nothing for others', () => {
    const row = Float32Array.of(1, 0);
    adaptLabels(row, 2, [{ own: 0, partner: 1, share: 0.25 }], { threshold: 2, smoothing: 0.1 });
    expect(probabilities(row)[0]).toBeCloseTo(0.25, 6);
  });

  test.each([
    ['threshold', -0.1],
    ['threshold', Number.NaN],
    ['smoothing', 0],
    ['smoothing', 1],
  ])('%s of %d is refused', (name, value) => {
    expect(() => ferkdOptions({ [name]: value })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: `filter.${name}` }),
    );
  });
});
