import { expect, test } from 'vitest';
import { importLabels } from '#src/interop/import.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { prunedBatches } from '#src/loader/kept-batches.js';
import { createLoader } from '#src/loader/loader.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { CUT_VIEWS as augmentation, viewedLogits } from '../codecs/viewed.js';
import { sample } from '../interop/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const [EPOCHS, SAMPLES, CLASSES, TAU] = [6, 30, 9, 4];
const codec = { name: 'predictive', step: 0.1, network: true } as const;
const all = { start: 0, count: SAMPLES };
const logits = viewedLogits(augmentation, { epochs: EPOCHS, samples: SAMPLES, classes: CLASSES });
const source = memoryLabelSource(logits, { epochs: EPOCHS, samples: SAMPLES, classes: CLASSES });

/** Quantised in steps of a tenth: probabilities are off by less than that over tau. */
function expectLabels(labels: Float32Array, epoch: number): void {
  const values = logits.subarray(
    epoch * SAMPLES * CLASSES,
    epoch * SAMPLES * CLASSES + labels.length,
  );
  const expected = new Float32Array(labels.length);
  softmaxRows(values, values.length / CLASSES, CLASSES, TAU, expected);
  for (const [i, value] of labels.entries()) expect(value).toBeCloseTo(expected[i], 1.5);
}

test('labels predicted from what views show are read by whoever reads them, and packed again', async () => {
  const [out, again] = [directory.path('shown'), directory.path('again')];
  const { codec: packed } = await packLogits({
    ...{ source, out, codec, tau: TAU, augmentation, keep: 5 },
  });
  expect(packed.config).toMatchObject({ network: { embeddings: SAMPLES } });
  await packLogits({ source: out, out: again, codec });
  await using archive = await openArchive(out);
  await archive.verify();
  await using copy = await openArchive(again);
  expect(copy.codecParts.config).toMatchObject({ network: { embeddings: SAMPLES } });
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    expectLabels(await archive.labels(epoch, all), epoch % 5);
    expectLabels(await copy.labels(epoch, all), epoch % 5);
  }
  for (const workers of [0, 1]) {
    await using loader = createLoader({ archive, batchSize: 25, workers });
    for await (const { epoch, sampleIds, ys } of loader) {
      expect(ys).toEqual(await archive.labels(epoch, sampleIds));
    }
  }
});

test('batches that were kept have the views of their epoch', async () => {
  const out = directory.path('pruned');
  const prune = { ratio: 1.5, batchSize: 20 };
  await packLogits({ source, out, codec, tau: TAU, augmentation, prune });
  await using archive = await openArchive(out);
  expect(archive.codecParts.config).toMatchObject({ network: { embeddings: SAMPLES } });
  let seen = 0;
  for await (const { row, ys } of prunedBatches({ archive })) {
    expect(ys).toEqual(await archive.labels(row, { start: 0, count: 20 }));
    seen++;
  }
  expect(seen).toBeGreaterThan(0);
});

test('crops that another program recorded as shares of images tell what views show', async () => {
  const [imported, out] = [directory.path('imported'), directory.path('recorded')];
  const images = sample('images');
  await importLabels({ source: sample('sre2l-cutmix'), images, size: [12, 12], out: imported });
  await packLogits({ source: imported, out, codec });
  await using before = await openArchive(imported);
  await using after = await openArchive(out);
  const { samples, classes, epochs } = before;
  expect(after.codecParts.config).toMatchObject({ network: { embeddings: samples } });
  const everything = { start: 0, count: samples };
  for (let epoch = 0; epoch < epochs; epoch++) {
    const [expected, found] = [before, after].map((own) => own.labels(epoch, everything));
    const labels = await found;
    for (const [i, value] of (await expected).entries()) expect(labels[i]).toBeCloseTo(value, 1.5);
    const two = await after.labels(epoch, Uint32Array.of(7, 2));
    expect(two).toEqual(
      Float32Array.from(
        [7, 2].flatMap((id) => [...labels.subarray(id * classes, (id + 1) * classes)]),
      ),
    );
  }
  await using loader = createLoader({ archive: after, batchSize: 4, workers: 0 });
  for await (const { epoch, sampleIds, ys } of loader) {
    expect(ys).toEqual(await after.labels(epoch, sampleIds));
  }
});
