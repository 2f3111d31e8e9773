import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openArchive as openWithoutCodecs } from '#src/archive/archive.js';
import { loadCodec } from '#src/codecs/registry.js';
import { loadKernels } from '#src/kernels/load.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const [EPOCHS, SAMPLES, CLASSES] = [3, 41, 6];
const logits = syntheticLogits(EPOCHS * SAMPLES, CLASSES);
const shape = { epochs: EPOCHS, samples: SAMPLES, classes: CLASSES };
const codec = { name: 'topk', k: 3 } as const;
const out = directory.path('archive');
await packLogits({ source: memoryLabelSource(logits, shape), out, codec });

test('labels of any samples of an epoch, in any order, are those of its row', async () => {
  await using archive = await openArchive(out);
  using decoder = loadCodec(archive.codecParts, loadKernels());
  const place = fc.record({
    epoch: fc.nat(EPOCHS - 1),
    samples: fc.array(fc.nat(SAMPLES - 1), { maxLength: 20 }),
  });
  await fc.assert(
    fc.asyncProperty(place, async ({ epoch, samples }) => {
      const all = new Float32Array(SAMPLES * CLASSES);
      const labels = { start: 0, count: SAMPLES };
      const row = await archive.readRow(epoch);
      decoder.decode({ row, labels, context: { epoch, samples: labels }, out: all });
      const rows = samples.flatMap((s) => [...all.subarray(s * CLASSES, (s + 1) * CLASSES)]);
      const found = await archive.labels(epoch, Uint32Array.from(samples));
      expect(found).toEqual(Float32Array.from(rows));
    }),
    { numRuns: 30 },
  );
  const range = await archive.labels(1, { start: 5, count: 9 });
  const listed = Uint32Array.from({ length: 9 }, (_, i) => 5 + i);
  expect(range).toEqual(await archive.labels(1, listed));
});

test('labels of a pruned archive are those of its batches', async () => {
  const pruned = directory.path('pruned');
  const source = memoryLabelSource(logits, shape);
  const prune = { ratio: 2, batchSize: 8, seed: 1 };
  await packLogits({ source, out: pruned, codec: { name: 'none' }, prune });
  await using archive = await openArchive(pruned);
  const labels = await archive.labels(0, Uint32Array.of(3, 0));
  for (const y of [labels.subarray(0, CLASSES), labels.subarray(CLASSES)]) {
    expect(y.reduce((a, b) => a + b)).toBeCloseTo(1, 5);
  }
});

test.each([
  [0, Uint32Array.of(41), 'samples'],
  [3, Uint32Array.of(0), 'epoch'],
  [0, { start: 40, count: 2 }, 'samples'],
])('labels that are not there are refused: epoch %i, %j', async (epoch, samples, field) => {
  await using archive = await openArchive(out);
  await expect(archive.labels(epoch, samples)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field,
  });
});

test('an archive that was opened without codecs has only codes', async () => {
  await using archive = await openWithoutCodecs(out);
  expect(() => archive.labels(0, Uint32Array.of(0))).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED' }),
  );
});
