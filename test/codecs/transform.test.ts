import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LabelArchive } from '#src/archive/archive.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { syntheticLogits } from './labels.js';

const [EPOCHS, SAMPLES, CLASSES, TAU] = [3, 700, 29, 4];

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'transform-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** softmax(z / TAU) in float64. */
function labelsOf(logits: Float32Array): Float64Array {
  const out = new Float64Array(logits.length);
  for (let begin = 0; begin < logits.length; begin += CLASSES) {
    const row = Float64Array.from(logits.subarray(begin, begin + CLASSES));
    const most = Math.max(...row);
    const weights = row.map((z) => Math.exp((z - most) / TAU));
    const sum = weights.reduce((all, own) => all + own);
    out.set(
      weights.map((own) => own / sum),
      begin,
    );
  }
  return out;
}

describe.each([1, 4, 8] as const)('an archive with a trellis of %i states', (states) => {
  const logits = syntheticLogits(EPOCHS * SAMPLES, CLASSES);
  let archive: LabelArchive;

  beforeAll(async () => {
    const out = join(folder, `states ${states}`);
    const source = memoryLabelSource(logits, {
      epochs: EPOCHS,
      samples: SAMPLES,
      classes: CLASSES,
    });
    const codec = { name: 'transform', step: 0.1, components: 20, states } as const;
    await packLogits({ source, out, codec, tau: TAU });
    archive = await openArchive(out);
  });

  afterAll(() => archive.close());

  test('gives back labels that differ by the noise outside of the components', async () => {
    const expected = labelsOf(logits);
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const labels = await archive.labels(epoch, { start: 0, count: SAMPLES });
      const begin = epoch * SAMPLES * CLASSES;
      for (const [i, value] of labels.entries()) {
        // Noise and quantisation of some 0.07 and 0.03 logits, over tau, times at most 1/4 of a label's mass.
        expect(Math.abs(value - expected[begin + i])).toBeLessThan(0.02);
      }
    }
  });

  test('gives any labels of an epoch as it gives all', async () => {
    const all = await archive.labels(1, { start: 0, count: SAMPLES });
    const chosen = Uint32Array.of(699, 0, 255, 256, 511, 512, 3, 3);
    const some = await archive.labels(1, chosen);
    for (const [i, sample] of chosen.entries()) {
      const own = all.subarray(sample * CLASSES, (sample + 1) * CLASSES);
      expect(some.subarray(i * CLASSES, (i + 1) * CLASSES)).toEqual(own);
    }
  });
});
