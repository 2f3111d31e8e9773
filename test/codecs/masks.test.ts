import { describe, expect, test } from 'vitest';
import { CODECS, type CodecChoice } from '#src/codecs/registry.js';
import { loadKernels } from '#src/kernels/load.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { syntheticLogits, trainingOn } from './labels.js';

const [classes, count, tau] = [13, 64, 4];
const MASKED = 5;

/** Logits with one class masked out in every row, and the labels of a softmax over the others, in float64. */
function masked(mask: number, offset = 0) {
  const logits = syntheticLogits(count, classes).map((z) => z + offset);
  const labels = Float32Array.from(logits);
  for (let i = 0; i < count; i++) {
    const others = [...logits.subarray(i * classes, (i + 1) * classes)];
    const most = Math.max(...others);
    const weights = others.map((z, j) => (j === MASKED ? 0 : Math.exp((z - most) / tau)));
    const sum = weights.reduce((a, b) => a + b);
    for (const [j, weight] of weights.entries()) labels[i * classes + j] = weight / sum;
    logits[i * classes + MASKED] = mask;
  }
  return { logits, labels };
}

const CHOICES: readonly (readonly [CodecChoice, number])[] = [
  [{ name: 'none' }, 2e-3],
  [{ name: 'none', store: 'probabilities' }, 1e-3],
  [{ name: 'topk', k: classes }, 1e-3],
  [{ name: 'topk', k: classes, values: 'logits' }, 2e-3],
  [{ name: 'pca', k: classes - 1 }, 2e-3],
  [{ name: 'rpca', k: classes - 1 }, 0.1],
  [{ name: 'scalar', levels: 4096 }, 5e-3],
  [{ name: 'vq', dc: 1, k: 1024 }, 0.05],
  [{ name: 'mean' }, 1e-3],
  [{ name: 'transform', step: 0.01, components: classes - 1 }, 1e-3],
  [{ name: 'vqae', dh: 26, dc: 1, k: 128 }, 0.1],
];

describe.each([
  ['-infinity', Number.NEGATIVE_INFINITY, 0],
  ['-1e9', -1e9, 0],
  ['the least float', -3.4028234663852886e38, 0],
  ['-1e9, on logits that half floats cannot hold', -1e9, 80_000],
])('masks of %s', (_, mask, offset) => {
  test.each(CHOICES)(
    '%o: the masked class has nothing, the others what they should',
    async (choice, tolerance) => {
      const { logits, labels } = masked(mask, offset);
      const source = memoryLabelSource(logits, { epochs: 1, samples: count, classes });
      const settled = await source.read(0, 0, count);
      using codec = (
        await CODECS.train(choice, {
          ...{ classes, samples: count, labels: count, tau, eps: 1e-6, kernels: loadKernels() },
          ...trainingOn(settled, classes, tau),
          training: { steps: 200 },
        })
      ).codec;
      const all = { start: 0, count };
      const context = { epoch: 0, samples: all };
      const row = await codec.encode(settled, context);
      const out = new Float32Array(settled.length).fill(Number.NaN);
      codec.decode({ row, labels: all, context, out });
      for (const [i, value] of out.entries()) {
        expect(Math.abs(value - labels[i])).toBeLessThan(tolerance);
        if (i % classes === MASKED) expect(value).toBeLessThan(Math.min(tolerance, 0.03));
      }
    },
  );
});
