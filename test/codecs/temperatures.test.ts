import { describe, expect, test } from 'vitest';
import { CODECS, type CodecChoice } from '#src/codecs/registry.js';
import { loadKernels } from '#src/kernels/load.js';
import { syntheticLogits, trainingOn } from './labels.js';

/** Labels of any temperature from one archive: codes that hold logits give them, all others refuse. */

const [COUNT, CLASSES, TAU] = [64, 24, 4];
const logits = syntheticLogits(COUNT, CLASSES);
const context = { epoch: 0, samples: { start: 0, count: COUNT } };

const CHOICES: readonly (readonly [string, CodecChoice])[] = [
  ['none', { name: 'none', store: 'logits' }],
  ['none of probabilities', { name: 'none', store: 'probabilities' }],
  ['topk of logits', { name: 'topk', k: 5, values: 'logits' }],
  ['topk of probabilities', { name: 'topk', k: 5 }],
  ['topk of ids', { name: 'topk', k: 1, values: 'none' }],
  ['pca', { name: 'pca', k: 4 }],
  ['vq', { name: 'vq', dc: 4, k: 8 }],
  ['vqae', { name: 'vqae', dh: 16, dc: 4, k: 8 }],
  ['scalar', { name: 'scalar', levels: 16 }],
  ['mean', { name: 'mean' }],
  ['transform', { name: 'transform', step: 0.02, components: CLASSES - 1 }],
];

async function trained(choice: CodecChoice) {
  const { codec } = await CODECS.train(choice, {
    ...{ classes: CLASSES, samples: COUNT, labels: COUNT, tau: TAU, eps: 1e-6 },
    ...trainingOn(logits, CLASSES, TAU),
    kernels: loadKernels(),
    training: { steps: 2 },
  });
  return codec;
}

describe.each(CHOICES)('%s', (_, choice) => {
  test('decodes at its own temperature, and at others if it says so', async () => {
    using codec = await trained(choice);
    const sized = CODECS.sized(choice, { classes: CLASSES, labels: COUNT });
    expect(CODECS.of(choice).anyTau?.(sized) ?? false).toBe(codec.anyTau);
    const row = await codec.encode(logits, context);
    const decode = async (tau?: number) => {
      const out = new Float32Array(logits.length);
      await codec.decodeAsync({ row, labels: context.samples, context, out, tau });
      const again = new Float32Array(logits.length);
      codec.decode({ row, labels: context.samples, context, out: again, tau });
      expect(again).toEqual(out);
      return out;
    };
    const own = await decode();
    expect(await decode(TAU)).toEqual(own);
    for (const wrong of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      await expect(decode(wrong)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'tau' });
    }
    if (!codec.anyTau) {
      const refusal = { code: 'UNSUPPORTED', field: 'tau', found: 2.5 };
      await expect(decode(2.5)).rejects.toMatchObject(refusal);
      expect(() =>
        codec.decode({ row, labels: context.samples, context, out: own, tau: 2.5 }),
      ).toThrow(expect.objectContaining(refusal));
      return;
    }
    for (const tau of [0.5, 2.5, 40]) {
      const labels = await decode(tau);
      // Among classes that are kept, log ratios are those of the logits, in half floats, over tau.
      for (let i = 0; i < COUNT; i++) {
        const row = logits.subarray(i * CLASSES, (i + 1) * CLASSES);
        const decoded = labels.subarray(i * CLASSES, (i + 1) * CLASSES);
        expect(decoded.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
        const top = row.indexOf(Math.max(...row));
        for (const [j, value] of decoded.entries()) {
          if (value < 1e-6) continue;
          expect(Math.log(decoded[top] / value) * tau).toBeCloseTo(row[top] - row[j], 1);
        }
      }
    }
  });
});
