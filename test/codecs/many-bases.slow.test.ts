import { expect, test } from 'vitest';
import { RandomSequence } from '#src/core/random.js';
import { memoryLabelSource, openArchive, packLogits } from '#src/index.js';
import { temporaryDirectory } from '../temporary.js';

/** More than lie in one stream. */
const SAMPLES = 65_600;
const [CLASSES, EPOCHS, LOOKS] = [12, 2, 6];

/** Labels of samples in the order of their classes: what a class looks like, some of the sample, some noise. */
function logitsOf(): Float32Array {
  const random = new RandomSequence(8, 1);
  const normals = (count: number) => Array.from({ length: count }, () => random.normal());
  const looks = Array.from({ length: CLASSES }, () => normals(LOOKS));
  const logits = new Float32Array(EPOCHS * SAMPLES * CLASSES);
  for (let sample = 0; sample < SAMPLES; sample++) {
    const look = looks[Math.floor((sample * CLASSES) / SAMPLES)];
    const own = look.map((value) => value + 0.3 * random.normal());
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const seen = own.map((value) => value + 0.1 * random.normal());
      for (const [j, other] of looks.entries()) {
        const logit = other.reduce((sum, value, k) => sum + value * seen[k], 0);
        logits[(epoch * SAMPLES + sample) * CLASSES + j] = logit;
      }
    }
  }
  return logits;
}

const temporary = await temporaryDirectory();

test('base vectors in blocks are predicted from classes where that saves bytes', async () => {
  const out = temporary.path('packed');
  const shape = { epochs: EPOCHS, samples: SAMPLES, classes: CLASSES };
  const source = memoryLabelSource(logitsOf(), shape);
  const codec = { name: 'transform', step: 0.5, bases: true } as const;
  const { divergence } = await packLogits({ source, out, codec, tau: 1 });
  expect(divergence.kl).toBeLessThan(0.01);
  await using archive = await openArchive(out);
  expect(archive.codecParts.config).toMatchObject({ likeness: true, bases: SAMPLES });
  expect(archive.manifest.features.required).toContain('likeness');
  await archive.verify();
  // Of the last sample alone as of all.
  const whole = await archive.labels(1, { start: SAMPLES - 3, count: 3 });
  const last = await archive.labels(1, Uint32Array.of(SAMPLES - 1));
  expect(last).toEqual(whole.slice(2 * CLASSES));
});
