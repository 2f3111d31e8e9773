import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DivergenceMeter, labelDivergence, PROBABILITY_FLOOR } from '#src/labels/divergence.js';

/** The definitions, spelled out row by row with explicit centring. */
function oracle(y: readonly number[][], q: readonly number[][]) {
  const log = (p: number) => Math.log(Math.max(p, PROBABILITY_FLOOR));
  const centred = (row: readonly number[]) => {
    const logs = row.map(log);
    const mean = logs.reduce((a, b) => a + b, 0) / logs.length;
    return logs.map((v) => v - mean);
  };
  let kl = 0;
  let error = 0;
  let energy = 0;
  let agreeing = 0;
  for (const [i, label] of y.entries()) {
    label.forEach((p, j) => {
      if (p > 0) kl += p * (log(p) - log(q[i][j]));
      kl += q[i][j] - p;
    });
    const a = centred(label);
    const b = centred(q[i]);
    a.forEach((v, j) => {
      error += (v - b[j]) ** 2;
      energy += v ** 2;
    });
    if (label.indexOf(Math.max(...label)) === q[i].indexOf(Math.max(...q[i]))) agreeing += 1;
  }
  return { kl: kl / y.length, nmse: error / energy, top1: agreeing / y.length };
}

const distribution = (classes: number) =>
  fc
    .array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1000 })), {
      minLength: classes,
      maxLength: classes,
    })
    .map((counts) => {
      const sum = counts.reduce((a, b) => a + b, 0);
      return counts.map((n) => Math.fround(sum === 0 ? 1 / classes : n / sum));
    });

describe('labelDivergence', () => {
  test('agrees with the definitions, at once and row by row', () => {
    const pairs = fc.array(fc.tuple(distribution(7), distribution(7)), {
      minLength: 1,
      maxLength: 20,
    });
    fc.assert(
      fc.property(pairs, (rows) => {
        const y = rows.map(([label]) => label);
        const q = rows.map(([, decoded]) => decoded);
        const expected = oracle(y, q);
        fc.pre(Number.isFinite(expected.nmse) && expected.nmse < 1e6);
        const meter = new DivergenceMeter(7);
        for (const [label, decoded] of rows) {
          meter.add(Float32Array.from(label), Float32Array.from(decoded));
        }
        const whole = labelDivergence(Float32Array.from(y.flat()), Float32Array.from(q.flat()), 7);
        expect(meter.result()).toEqual(whole);
        expect(whole.kl).toBeCloseTo(expected.kl, 10);
        // Of rounded labels, whose sums are not quite 1, the logarithms alone may be below 0.
        expect(whole.kl).toBeGreaterThanOrEqual(0);
        expect(whole.nmse).toBeCloseTo(expected.nmse, 8);
        expect(whole.top1).toBe(expected.top1);
      }),
    );
  });

  test('is zero for exact labels, finite for a lost class', () => {
    const y = Float32Array.of(0.5, 0.5, 0, 0.25, 0.25, 0.5);
    expect(labelDivergence(y, y, 3)).toEqual({ kl: 0, nmse: 0, top1: 1 });
    const uniform = new Float32Array(4).fill(0.25);
    expect(labelDivergence(uniform, uniform, 4)).toEqual({ kl: 0, nmse: 0, top1: 1 });
    const lost = labelDivergence(Float32Array.of(1, 0), Float32Array.of(0, 1), 2);
    expect(lost.kl).toBeCloseTo(-Math.log(PROBABILITY_FLOOR), 10);
    expect(lost.top1).toBe(0);
  });

  test('refuses arrays that are not the same whole rows', () => {
    for (const [labels, decoded] of [
      [6, 3],
      [4, 4],
    ]) {
      expect(() => labelDivergence(new Float32Array(labels), new Float32Array(decoded), 3)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'decoded' }),
      );
    }
  });
});
