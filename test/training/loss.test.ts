import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '#src/nn/backend/select.js';
import { kdLoss } from '#src/training/loss.js';

/** KL(y || softmax(z / tau)), mean over rows, in float64. */
function reference(z: readonly number[], y: readonly number[], classes: number, tau: number) {
  const rows = z.length / classes;
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    const scaled = z.slice(row * classes, (row + 1) * classes).map((v) => v / tau);
    const top = Math.max(...scaled);
    const logSum = top + Math.log(scaled.reduce((s, v) => s + Math.exp(v - top), 0));
    scaled.forEach((v, c) => {
      const p = y[row * classes + c];
      if (p > 0) sum += p * (Math.log(p) - (v - logSum));
    });
  }
  return sum / rows;
}

/** Deterministic values in [-1, 1). */
function values(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(state / 2 ** 31 - 1);
  });
}

function distributions(rows: number, classes: number, seed: number): number[] {
  const raw = values(rows * classes, seed).map((v) => Math.exp(3 * v));
  return raw.map((v, i) => {
    const start = Math.floor(i / classes) * classes;
    const total = raw.slice(start, start + classes).reduce((s, w) => s + w, 0);
    return Math.fround(v / total);
  });
}

describe('kdLoss', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'wasm' });
  });

  for (const [rows, classes, tau] of [
    [1, 2, 1],
    [3, 7, 1],
    [4, 11, 20],
    [2, 1001, 4],
  ] as const) {
    it(`value and gradient of ${rows} x ${classes} at tau ${tau}`, async () => {
      const z = values(rows * classes, 5).map((v) => Math.fround(8 * v));
      const y = distributions(rows, classes, 9);
      const before = tf.memory().numTensors;
      const [loss, gradient] = tf.tidy(() => {
        const labels = tf.tensor2d(y, [rows, classes]);
        const { value, grad } = tf.valueAndGrad((logits) =>
          kdLoss(logits as tf.Tensor2D, labels, tau),
        )(tf.tensor2d(z, [rows, classes]));
        return [value, grad];
      });
      const expected = reference(z, y, classes, tau);
      expect((await loss.data())[0]).toBeCloseTo(expected, 5);
      const actual = await gradient.data();
      const step = 1e-4;
      for (let i = 0; i < Math.min(z.length, 40); i++) {
        const shifted = (by: number) => z.map((v, j) => (j === i ? v + by : v));
        const slope =
          (reference(shifted(step), y, classes, tau) - reference(shifted(-step), y, classes, tau)) /
          (2 * step);
        expect(Math.abs(actual[i] - slope)).toBeLessThan(1e-6 / tau + 1e-8);
      }
      loss.dispose();
      gradient.dispose();
      expect(tf.memory().numTensors).toBe(before);
    });
  }

  it('is zero with a zero gradient where student and label agree', async () => {
    const z = tf.tensor2d(values(20, 3), [2, 10]);
    const y = tf.softmax(z.div(20)) as tf.Tensor2D;
    const { value, grad } = tf.valueAndGrad((logits) => kdLoss(logits as tf.Tensor2D, y, 20))(z);
    expect(Math.abs((await value.data())[0])).toBeLessThan(1e-6);
    expect(Math.max(...(await grad.abs().data()))).toBeLessThan(1e-8);
  });

  it('takes labels with exact zeros, and far-off logits', async () => {
    const z = tf.tensor2d([100, -100, 0, 0, 50, 0], [2, 3]);
    const y = tf.tensor2d([1, 0, 0, 0, 0, 1], [2, 3]);
    const { value, grad } = tf.valueAndGrad((logits) => kdLoss(logits as tf.Tensor2D, y, 1))(z);
    expect((await value.data())[0]).toBeCloseTo(25, 4);
    expect([...(await grad.data())].every(Number.isFinite)).toBe(true);
  });
});
