import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logitsFromProbabilities, softmaxRows } from '#src/labels/temperature.js';

/** Softmax from its definition in float64; exact enough while exp does not overflow. */
function softmax(row: readonly number[], tau: number): number[] {
  const powers = row.map((z) => Math.exp(z / tau));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

const matrix = fc
  .record({ rows: fc.integer({ min: 0, max: 5 }), classes: fc.constantFrom(1, 2, 7, 31) })
  .chain(({ rows, classes }) =>
    fc.array(
      fc.array(fc.float({ min: -100, max: 100, noNaN: true }), {
        minLength: classes,
        maxLength: classes,
      }),
      { minLength: rows, maxLength: rows },
    ),
  );

describe('softmaxRows', () => {
  test('agrees with the definition, out of place and in place', () => {
    fc.assert(
      fc.property(matrix, fc.constantFrom(0.5, 1, 20), (rows, tau) => {
        const classes = rows[0]?.length ?? 3;
        const logits = Float32Array.from(rows.flat());
        const out = new Float32Array(logits.length).fill(Number.NaN);
        softmaxRows(logits, rows.length, classes, tau, out);
        for (const [i, p] of rows.flatMap((row) => softmax(row, tau)).entries()) {
          expect(Math.abs(out[i] - p)).toBeLessThanOrEqual(1e-7 * p + 1e-38);
        }
        softmaxRows(logits, rows.length, classes, tau, logits);
        expect(logits).toEqual(out);
      }),
    );
  });

  test('stays finite where exp would overflow', () => {
    const out = new Float32Array(3);
    softmaxRows(Float32Array.of(30000, 29999, -60000), 1, 3, 1, out);
    expect(out[0] / out[1]).toBeCloseTo(Math.E, 5);
    expect(out[2]).toBe(0);
  });

  test.each([
    ['tau', () => softmaxRows(new Float32Array(4), 2, 2, 0, new Float32Array(4))],
    ['tau', () => softmaxRows(new Float32Array(4), 2, 2, Number.NaN, new Float32Array(4))],
    ['logits', () => softmaxRows(new Float32Array(5), 2, 2, 1, new Float32Array(4))],
    ['out', () => softmaxRows(new Float32Array(4), 2, 2, 1, new Float32Array(5))],
  ])('names a wrong %s', (field, call) => {
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field }));
  });
});

describe('logitsFromProbabilities', () => {
  test('gives logits whose softmax is the probabilities again', () => {
    fc.assert(
      fc.property(matrix, fc.constantFrom(1, 20), (rows, tau) => {
        const classes = rows[0]?.length ?? 3;
        const labels = Float32Array.from(rows.flatMap((row) => softmax(row, 20)));
        const logits = new Float32Array(labels.length).fill(Number.NaN);
        logitsFromProbabilities(labels, tau, logits);
        softmaxRows(logits, rows.length, classes, tau, logits);
        for (const [i, p] of labels.entries()) expect(Math.abs(logits[i] - p)).toBeLessThan(1e-5);
      }),
    );
  });

  test('takes zero for the least half float, or for what is asked', () => {
    const logits = new Float32Array(2);
    logitsFromProbabilities(Float32Array.of(0, 1), 20, logits);
    expect([...logits]).toEqual([Math.fround(20 * Math.log(2 ** -24)), 0]);
    logitsFromProbabilities(Float32Array.of(0, 1e-9), 2, logits, 1e-6);
    expect([...logits]).toEqual(Array(2).fill(Math.fround(2 * Math.log(1e-6))));
    expect(() => logitsFromProbabilities(logits, 1, logits, 0)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'tiny' }),
    );
  });
});
