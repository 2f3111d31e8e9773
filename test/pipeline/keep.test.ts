import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { imageFolder } from '#src/images/folder.js';
import { loadKernels } from '#src/kernels/load.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { createLoader } from '#src/loader/loader.js';
import { archiveSource } from '#src/pipeline/archive-source.js';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const [EPOCHS, KEEP, SAMPLES, CLASSES] = [7, 3, 20, 6];
const source = memoryLabelSource(syntheticLogits(EPOCHS * SAMPLES, CLASSES), {
  ...{ epochs: EPOCHS, samples: SAMPLES, classes: CLASSES },
});

test.each([
  { name: 'topk', k: 2 },
  { name: 'vqae', dh: 6, dc: 2, k: 8 },
] as const)('an archive of the first epochs serves all of them: $name', async (codec) => {
  const out = directory.path(`kept-${codec.name}`);
  const options = { source, codec, training: { steps: 5 } };
  const kept = await packLogits({ ...options, out, keep: KEEP });
  expect(kept.labels).toBe(EPOCHS * SAMPLES);
  await using archive = await openArchive(out);
  const { epochs, storedEpochs } = archive.manifest;
  expect([epochs, storedEpochs]).toEqual([EPOCHS, KEEP]);
  const all = { start: 0, count: SAMPLES };
  for (let epoch = KEEP; epoch < EPOCHS; epoch++) {
    expect(await archive.labels(epoch, all)).toEqual(await archive.labels(epoch % KEEP, all));
  }
  // Packed again, it stores what it stored.
  const again = directory.path(`again-${codec.name}`);
  const repacked = await packLogits({ source: out, out: again, codec: { name: 'none' } });
  expect(repacked.labels).toBe(EPOCHS * SAMPLES);
  await using copy = await openArchive(again);
  expect(copy.manifest.storedEpochs).toBe(KEEP);
  await expect(
    packLogits({ source: out, out: directory.path('more'), codec, keep: KEEP + 1 }),
  ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', expected: `at most ${KEEP}` });
});

test.each([
  [{ keep: 0 }, 'keep'],
  [{ keep: EPOCHS + 1 }, 'keep'],
  [{ keep: KEEP, prune: { ratio: 2, batchSize: 5 } }, 'keep'],
])('%j cannot be stored', async (change, field) => {
  const out = directory.path('never');
  const call = packLogits({ source, out, codec: { name: 'topk', k: 2 }, ...change });
  await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field });
});

test('a teacher labels what is stored, and the loader shows the views that its labels belong to', async () => {
  const folder = directory.path('images');
  await mkdir(folder);
  for (let i = 0; i < 6; i++) await writeImage(folder, `class${i % 2}/${i}.png`, i, [10, 12]);
  const teacher = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
  const options = {
    teacher,
    images: folder,
    description: { preprocessing: 'tf' },
    workers: 1,
  } as const;
  const [short, long] = [directory.path('short'), directory.path('long')];
  const few = await cacheLabels({ ...options, out: short, epochs: 2 });
  const many = await cacheLabels({ ...options, out: long, epochs: 5, keep: 2 });
  expect([few.made, many.made, many.labels]).toEqual([12, 12, 30]);
  await using stored = await openArchive(short);
  await using archive = await openArchive(long);
  await using logits = archiveSource(stored, loadKernels());
  await using served = archiveSource(archive, loadKernels());
  expect(await served.read(3, 0, 6)).toEqual(await logits.read(1, 0, 6));
  const images = await imageFolder(folder, { fit: { kind: 'short-side', pixels: 16 } });
  const epochs = async (of: typeof archive) => {
    const loader = await createLoader({
      ...{ archive: of, images, batchSize: 6, shuffle: false, workers: 0 },
      normalisation: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
    });
    const batches: { readonly xs: Float32Array; readonly ys: Float32Array }[] = [];
    for await (const { xs, ys } of loader) batches.push({ xs: xs.slice(), ys: ys.slice() });
    await loader.close();
    return batches;
  };
  const [one, other] = [await epochs(stored), await epochs(archive)];
  expect(other).toEqual([0, 1, 0, 1, 0].map((epoch) => one[epoch]));
});
