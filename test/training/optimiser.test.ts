import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { SoftpackError } from '#src/errors.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { AdamW } from '#src/training/optimiser.js';
import { cosineSchedule } from '#src/training/schedule.js';

beforeAll(async () => {
  await selectBackend({ backend: 'wasm' });
});

/** AdamW of Loshchilov & Hutter 2019, algorithm 2, on one parameter tensor in float64. */
function reference(
  start: readonly number[],
  gradients: readonly (readonly number[])[],
  rates: readonly number[],
  weightDecay: number,
): number[] {
  const [beta1, beta2, epsilon] = [0.9, 0.999, 1e-12];
  const [m, v] = [start.map(() => 0), start.map(() => 0)];
  const value = [...start];
  gradients.forEach((gradient, t) => {
    gradient.forEach((g, i) => {
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      const mHat = m[i] / (1 - beta1 ** (t + 1));
      const vHat = v[i] / (1 - beta2 ** (t + 1));
      value[i] -= rates[t] * (mHat / (Math.sqrt(vHat) + epsilon) + weightDecay * value[i]);
    });
  });
  return value;
}

describe('AdamW', () => {
  for (const scale of [1, 1e-7]) {
    it(`follows the float64 reference for gradients of size ${scale}`, async () => {
      const steps = 30;
      const matrix = [0.5, -1, 2, 0.25, -0.125, 3];
      const vector = [1, -2, 0.5];
      const gradient = (t: number, i: number): number =>
        Math.fround(scale * Math.sin(1.7 * t + i) * (i + 1));
      const matrixGradients = Array.from({ length: steps }, (_, t) =>
        matrix.map((_, i) => gradient(t, i)),
      );
      const vectorGradients = Array.from({ length: steps }, (_, t) =>
        vector.map((_, i) => gradient(t, i + 6)),
      );
      const rates = Array.from({ length: steps }, (_, t) => 0.1 / (t + 1));
      const before = tf.memory().numTensors;
      const a = tf.variable(tf.tensor2d(matrix, [2, 3]), true, 'optimiser-test/a');
      const b = tf.variable(tf.tensor1d(vector), true, 'optimiser-test/b');
      const optimizer = new AdamW([a, b], { learningRate: 1, weightDecay: 0.3 });
      rates.forEach((rate, t) => {
        optimizer.learningRate = rate;
        tf.tidy(() =>
          optimizer.step({
            [a.name]: tf.tensor2d([...matrixGradients[t]], [2, 3]),
            [b.name]: tf.tensor1d([...vectorGradients[t]]),
          }),
        );
      });
      const expected = [
        ...reference(matrix, matrixGradients, rates, 0.3),
        ...reference(vector, vectorGradients, rates, 0),
      ];
      const actual = [...(await a.data()), ...(await b.data())];
      actual.forEach((value, i) => {
        expect(Math.abs(value - expected[i])).toBeLessThan(1e-5);
      });
      optimizer.dispose();
      a.dispose();
      b.dispose();
      // The initial values given to tf.variable belong to this test: two tensors.
      expect(tf.memory().numTensors - before).toBe(2);
    });
  }
});

describe('cosineSchedule', () => {
  const schedule = cosineSchedule({ peak: 0.2, steps: 110, warmup: 10, floor: 0.1 });

  it('rises linearly, peaks after the warm-up and falls to the floor', () => {
    expect(schedule(0)).toBeCloseTo(0.02, 12);
    expect(schedule(9)).toBeCloseTo(0.2, 12);
    expect(schedule(10)).toBeCloseTo(0.2, 12);
    expect(schedule(60)).toBeCloseTo(0.2 * (0.1 + 0.9 / 2), 12);
    expect(schedule(110)).toBeCloseTo(0.02, 12);
    expect(schedule(500)).toBeCloseTo(0.02, 12);
    for (let step = 11; step <= 110; step++) {
      expect(schedule(step)).toBeLessThan(schedule(step - 1));
    }
  });

  it('refuses a warm-up as long as the run', () => {
    expect(() => cosineSchedule({ peak: 1, steps: 5, warmup: 5 })).toThrow(SoftpackError);
    expect(() => cosineSchedule({ peak: 1, steps: 0 })).toThrow(SoftpackError);
  });
});
