import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  fitTemperature,
  logitsFromProbabilities,
  retemper,
  softmaxRows,
  temperatureDecay,
} from '#src/labels/temperature.js';

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
          // Rounded to float32 twice, as a power and as a share of their sum: 2 * 2^-24.
          expect(Math.abs(out[i] - p)).toBeLessThanOrEqual(1.2e-7 * p + 1e-38);
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

describe('retemper', () => {
  test('gives the softmax of the same logits at the other temperature', () => {
    const row = fc.array(fc.float({ min: -20, max: 20, noNaN: true }), {
      minLength: 5,
      maxLength: 5,
    });
    const tau = fc.double({ min: 1, max: 30, noNaN: true });
    fc.assert(
      fc.property(row, row, tau, tau, (a, b, from, to) => {
        const labels = new Float32Array(10);
        softmaxRows(Float32Array.from([...a, ...b]), 2, 5, from, labels);
        // A probability that float32 rounds to nothing cannot come back.
        fc.pre(labels.every((value) => value > 1e-30));
        retemper(labels, 5, from, to);
        for (const [i, value] of [...softmax(a, to), ...softmax(b, to)].entries()) {
          expect(Math.abs(labels[i] - value)).toBeLessThan(2e-5);
        }
      }),
    );
  });

  test('keeps exact zeros, and everything at the same temperature', () => {
    const labels = Float32Array.of(0, 0.25, 0.75);
    retemper(labels, 3, 4, 4);
    expect([...labels]).toEqual([0, 0.25, 0.75]);
    retemper(labels, 3, 4, 2);
    expect(labels[0]).toBe(0);
    expect(labels[1]).toBeCloseTo(0.1, 6);
    expect(labels[2]).toBeCloseTo(0.9, 6);
  });
});

test('temperatureDecay steps down as LPQLD does', () => {
  const schedule = temperatureDecay();
  expect([0, 29, 30, 59, 60].map(schedule)).toEqual([20, 20, 14, 14, 20 * 0.7 ** 2]);
});

describe('fitTemperature', () => {
  const grid = Array.from({ length: 50 }, (_, i) => (i + 1) / 5);

  test('finds the temperature that labels were made at', () => {
    const logits = Float32Array.from({ length: 40 * 9 }, (_, i) => 5 * Math.sin(i * i));
    for (const made of [0.6, 2, 7.4]) {
      const labels = new Float32Array(logits.length);
      softmaxRows(logits, 40, 9, made, labels);
      expect(fitTemperature(logits, labels, 9, grid)).toBeCloseTo(made, 6);
    }
  });

  test('agrees with trying every temperature in float64', () => {
    const values = fc.array(fc.float({ min: -9, max: 9, noNaN: true }), {
      minLength: 12,
      maxLength: 12,
    });
    fc.assert(
      fc.property(values, values, (student, teacher) => {
        const labels = new Float32Array(12);
        softmaxRows(Float32Array.from(teacher), 3, 4, 2, labels);
        const kl = (t: number) =>
          [0, 4, 8].reduce((total, at) => {
            const q = softmax(student.slice(at, at + 4), t);
            return total + q.reduce((s, p, j) => s - labels[at + j] * Math.log(p), 0);
          }, 0);
        const found = fitTemperature(Float32Array.from(student), labels, 4, grid);
        expect(kl(found)).toBeLessThanOrEqual(Math.min(...grid.map(kl)) + 1e-4);
      }),
    );
  });

  test('in a range finds the temperature that labels were made at', () => {
    const logits = Float32Array.from({ length: 40 * 9 }, (_, i) => 5 * Math.sin(i * i));
    for (const made of [0.2, 0.613, 7.41, 20]) {
      const labels = new Float32Array(logits.length);
      softmaxRows(logits, 40, 9, made, labels);
      const found = fitTemperature(logits, labels, 9, { from: 0.2, to: 20 });
      expect(Math.abs(found / made - 1)).toBeLessThan(1e-4);
    }
  });

  test('in a range is within a step of the best of 20,000 temperatures in float64', () => {
    const values = fc.array(fc.float({ min: -9, max: 9, noNaN: true }), {
      minLength: 12,
      maxLength: 12,
    });
    const range = { from: 0.05, to: 5 };
    const fine = Array.from({ length: 20_000 }, (_, i) => 0.05 * 100 ** (i / 19_999));
    fc.assert(
      fc.property(values, values, (student, teacher) => {
        const labels = new Float32Array(12);
        softmaxRows(Float32Array.from(teacher), 3, 4, 2, labels);
        const kl = (t: number) => {
          let total = 0;
          for (const at of [0, 4, 8]) {
            const z = student.slice(at, at + 4);
            const max = Math.max(...z);
            const log = Math.log(z.reduce((sum, own) => sum + Math.exp((own - max) / t), 0));
            for (const [j, own] of z.entries()) total += labels[at + j] * (log - (own - max) / t);
          }
          return total;
        };
        const found = fitTemperature(Float32Array.from(student), labels, 4, range);
        expect(found).toBeGreaterThanOrEqual(range.from);
        expect(found).toBeLessThanOrEqual(range.to);
        const best = fine.reduce((least, t) => Math.min(least, kl(t)), Number.POSITIVE_INFINITY);
        expect(kl(found)).toBeLessThanOrEqual(best + 1e-6 * Math.max(1, Math.abs(best)));
      }),
      { numRuns: 25 },
    );
  });

  test('equal logits have no best temperature: the lowest; an empty range is refused', () => {
    const same = new Float32Array(8).fill(3);
    const labels = new Float32Array(8).fill(0.25);
    expect(fitTemperature(same, labels, 4, { from: 0.5, to: 2 })).toBe(0.5);
    expect(() => fitTemperature(same, labels, 4, { from: 2, to: 1 })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'tau' }),
    );
  });
});
