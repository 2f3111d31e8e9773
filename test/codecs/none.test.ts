import { expect, test } from 'vitest';
import { NoneCodec } from '#src/codecs/none.js';
import { loadCodec } from '#src/codecs/registry.js';
import { float16ToFloat32 } from '#src/core/half.js';
import { loadKernels } from '#src/kernels/load.js';
import { labelDivergence } from '#src/labels/divergence.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { syntheticLogits } from './labels.js';

const logits = syntheticLogits(9, 31);
const context = { epoch: 0, samples: { start: 0, count: 9 } };

test.each(['logits', 'probabilities'] as const)('float16 %s come back as labels', async (store) => {
  const codec = loadCodec(new NoneCodec({ classes: 31, tau: 4, store }).parts(), loadKernels());
  const row = await codec.encode(logits, context);
  expect(row.length).toBe(9 * 31 * 2);
  const out = new Float32Array(3 * 31).fill(Number.NaN);
  codec.decode({ row, labels: Uint32Array.of(8, 0, 8), context, out });
  const labels = new Float32Array(9 * 31);
  softmaxRows(logits, 9, 31, 4, labels);
  const expected = [8, 0, 8].flatMap((id) => [...labels.subarray(id * 31, id * 31 + 31)]);
  expect(labelDivergence(Float32Array.from(expected), out, 31).kl).toBeLessThan(1e-6);
  const halves = new Uint16Array(31).fill(0xaaaa);
  codec.decode({ row, labels: { start: 8, count: 1 }, context, out: halves });
  const values = new Float32Array(31);
  float16ToFloat32(halves, values);
  for (const [j, value] of values.entries()) expect(value).toBeCloseTo(out[j], 3);
});

test('a label beyond the row is refused', async () => {
  const codec = new NoneCodec({ classes: 31, tau: 4, store: 'logits' });
  const row = await codec.encode(logits, context);
  const call = () =>
    codec.decode({ row, labels: Uint32Array.of(9), context, out: new Float32Array(31) });
  expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'labels' }));
});
