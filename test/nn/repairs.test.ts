import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '#src/nn/backend/select.js';

/** Values of `compute` on both backends, each with its own tensors, and the tensors that each left behind. */
async function onBoth(
  compute: (input: (shape: number[], seed: number, shift?: number) => tf.Tensor) => tf.Tensor,
): Promise<{ wasm: Float32Array; cpu: Float32Array; shapes: number[][]; leaked: number }> {
  const results = [];
  let leaked = 0;
  for (const backend of ['wasm', 'cpu'] as const) {
    await selectBackend({ backend });
    const before = tf.memory().numTensors;
    const value = tf.tidy(() =>
      compute((shape, seed, shift = 0) => {
        const normal = tf.randomNormal(shape, 0, 1, 'float32', seed);
        return normal.add(shift);
      }),
    );
    results.push({ data: Float32Array.from(await value.data()), shape: value.shape });
    value.dispose();
    leaked += tf.memory().numTensors - before;
  }
  const [wasm, cpu] = results;
  return { wasm: wasm.data, cpu: cpu.data, shapes: [wasm.shape, cpu.shape], leaked };
}

/** Largest difference as a share of the largest reference value. */
function relativeError(actual: Float32Array, reference: Float32Array): number {
  let [difference, largest] = [0, 0];
  reference.forEach((value, i) => {
    difference = Math.max(difference, Math.abs(value - actual[i]));
    largest = Math.max(largest, Math.abs(value));
  });
  return difference / largest;
}

interface ConvCase {
  readonly batch: number;
  readonly size: [number, number];
  readonly channels: [number, number];
  readonly kernel: [number, number];
  readonly strides: [number, number];
  readonly pad: 'same' | 'valid';
}

const CONVOLUTIONS: readonly ConvCase[] = (
  [
    [2, [8, 8], [3, 4], [3, 3], [1, 1], 'same'],
    [2, [8, 8], [3, 4], [3, 3], [2, 2], 'same'],
    [1, [7, 9], [3, 5], [5, 5], [1, 1], 'valid'],
    [3, [9, 7], [16, 8], [3, 3], [1, 1], 'same'],
    [2, [8, 8], [16, 4], [3, 3], [2, 2], 'same'],
    [2, [9, 9], [9, 4], [3, 3], [2, 2], 'valid'],
    [2, [10, 8], [12, 3], [3, 3], [3, 2], 'valid'],
    [1, [11, 11], [9, 2], [7, 7], [2, 2], 'same'],
    [2, [6, 6], [5, 7], [1, 1], [1, 1], 'same'],
    [2, [7, 7], [10, 6], [1, 1], [2, 2], 'valid'],
    [2, [8, 8], [9, 3], [2, 2], [2, 2], 'same'],
    [1, [5, 6], [4, 4], [4, 3], [1, 1], 'same'],
    [2, [8, 8], [9, 4], [2, 2], [3, 3], 'valid'],
    [1, [3, 3], [9, 4], [3, 3], [1, 1], 'valid'],
  ] as const
).map(([batch, size, channels, kernel, strides, pad]) => ({
  batch,
  size: [...size],
  channels: [...channels],
  kernel: [...kernel],
  strides: [...strides],
  pad,
}));

const POOLS = [
  { size: 8, window: 2, stride: 2, pad: 'same' },
  { size: 7, window: 2, stride: 2, pad: 'same' },
  { size: 7, window: 3, stride: 2, pad: 'same' },
  { size: 9, window: 3, stride: 1, pad: 'valid' },
  { size: 6, window: 3, stride: 3, pad: 'valid' },
] as const;

describe('repaired wasm kernels agree with the cpu backend', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'wasm' });
  });

  for (const test of CONVOLUTIONS) {
    const { batch, size, channels, kernel, strides, pad } = test;
    const name = `${size.join('x')}x${channels[0]}->${channels[1]}, kernel ${kernel.join('x')}, strides ${strides.join(',')}, ${pad}`;
    const xShape = [batch, ...size, channels[0]];
    const filterShape = [...kernel, ...channels];

    it(`gradients of conv2d: ${name}`, async () => {
      for (const part of ['x', 'filter'] as const) {
        const { wasm, cpu, shapes, leaked } = await onBoth((input) => {
          const x = input(xShape, 1) as tf.Tensor4D;
          const filter = input(filterShape, 2) as tf.Tensor4D;
          const y = tf.conv2d(x, filter, strides, pad);
          const weights = input(y.shape, 3);
          const loss = (a: tf.Tensor4D, b: tf.Tensor4D): tf.Scalar =>
            tf.conv2d(a, b, strides, pad).mul(weights).sum();
          return part === 'x'
            ? tf.grad((a) => loss(a as tf.Tensor4D, filter))(x)
            : tf.grad((b) => loss(x, b as tf.Tensor4D))(filter);
        });
        expect(shapes[0]).toEqual(shapes[1]);
        expect(relativeError(wasm, cpu)).toBeLessThan(2e-6);
        expect(leaked).toBe(0);
      }
    });
  }

  for (const { size, window, stride, pad } of POOLS) {
    for (const shift of [0, -10, 10]) {
      it(`gradient of maxPool: ${size}, ${window}/${stride} ${pad}, values around ${shift}`, async () => {
        const { wasm, cpu, leaked } = await onBoth((input) => {
          const x = input([2, size, size, 5], 4, shift) as tf.Tensor4D;
          const weights = input(tf.maxPool(x, window, stride, pad).shape, 5);
          return tf.grad((a) =>
            tf
              .maxPool(a as tf.Tensor4D, window, stride, pad)
              .mul(weights)
              .sum(),
          )(x);
        });
        expect(relativeError(wasm, cpu)).toBeLessThan(1e-6);
        expect(leaked).toBe(0);
      });
    }
  }

  for (const [a, b, transposeA, transposeB] of [
    [[5, 7], [7, 3], false, false],
    [[7, 5], [7, 3], true, false],
    [[5, 7], [3, 7], false, true],
    [[7, 5], [3, 7], true, true],
    [[2, 7, 5], [2, 7, 3], true, false],
    [[2, 5, 7], [2, 3, 7], false, true],
    [[1, 1], [1, 1], true, true],
  ] as const) {
    it(`matMul of ${a.join('x')} and ${b.join('x')}, transposed ${transposeA} ${transposeB}`, async () => {
      const { wasm, cpu, shapes, leaked } = await onBoth((input) =>
        tf.matMul(input([...a], 6), input([...b], 7), transposeA, transposeB),
      );
      expect(shapes[0]).toEqual(shapes[1]);
      expect(relativeError(wasm, cpu)).toBeLessThan(1e-6);
      expect(leaked).toBe(0);
    });
  }
});

describe('SplitV', () => {
  it.each([
    ['a vector', [12], [5, 0, 7], 0],
    ['rows', [6, 4], [1, 2, 3], 0],
    ['rows by number', [6, 4], 3, 0],
    ['columns', [3, 6], [2, 4], 1],
    ['columns of one row', [1, 6], [4, 2], 1],
    ['a rest', [9, 2], [4, -1], 0],
  ] as const)('cuts %s as cpu does', async (_, shape, sizes, axis) => {
    const splits = typeof sizes === 'number' ? sizes : [...sizes];
    // Each part by itself, then all together again by other means.
    const joined = await onBoth((input) => {
      const parts = tf.split(input([...shape], 1), splits, axis);
      return tf.concat([...parts].reverse(), axis).mul(2);
    });
    expect(joined.shapes[0]).toEqual(joined.shapes[1]);
    expect(joined.wasm).toEqual(joined.cpu);
    expect(joined.leaked).toBe(0);
  });
});
