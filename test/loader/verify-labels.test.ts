import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { cacheLabels, createArchive, openArchive, verifyLabels } from '#src/index.js';
import { softpack } from '../cli/softpack.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';

/** A network of 8 x 8 pixels and 5 classes. */
const teacher = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
const description = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;

const temporary = await temporaryDirectory();
const images = temporary.path('images');
const full = temporary.path('full');
const options = { teacher, description, images, workers: 1, labels: 40 };

beforeAll(async () => {
  await mkdir(images);
  for (let i = 0; i < 15; i++) {
    await writeImage(images, `${i % 5}/${i}.png`, 2 * i, [9 + (i % 4), 11]);
  }
  await cacheLabels({ teacher, description, images, workers: 1, epochs: 3, tau: 4, out: full });
});

test('uncompressed labels are the same again, and as far from others as those are', async () => {
  const report = await verifyLabels(full, options);
  expect(report.labels).toBe(40);
  // Half floats keep 11 bits of logits of some units, at temperature 4.
  expect(report.archive.kl).toBeLessThan(1e-5);
  expect(report.control.kl).toBeLessThan(1e-5);
  expect(report.archive.top1).toBe(1);
  expect(report.unrelated.kl).toBeGreaterThan(1000 * report.archive.kl);
});

test('labels that were forged with all of their checksums are found', async () => {
  const forged = temporary.path('forged');
  {
    await using archive = await openArchive(full);
    const { codecParts, manifest } = archive;
    const { classes, samples, epochs, tau, layout, augmentation, teacher: by } = manifest;
    await using writer = await createArchive(forged, {
      ...{ classes, samples, epochs, tau, layout, augmentation, teacher: by },
      ...{ codec: codecParts, decoding: 'as before', images: manifest.images },
    });
    for (let epoch = 0; epoch < epochs; epoch++) {
      // Of the next epoch.
      await writer.writeRow(epoch, { codes: await archive.readRow((epoch + 1) % epochs) });
    }
    await writer.finish();
  }
  const report = await verifyLabels(forged, options);
  expect(report.archive.kl).toBeGreaterThan(100 * report.control.kl);
  const flags = ['--teacher', teacher, '--images', images, '--labels', '40', '--workers', '1'];
  const file = await temporary.file('teacher.json', JSON.stringify(description));
  const all = [...flags, '--description', file, '--max-kl', '1e-4'];
  const bad = await softpack(['verify', forged, ...all]);
  expect(bad).toMatchObject({ code: 1, err: expect.stringContaining('CORRUPT_DATA') });
  const good = await softpack(['verify', full, ...all]);
  expect(good).toMatchObject({ code: 0, out: expect.stringContaining('the teacher itself') });
});

test('another teacher and other images are refused with both values, unless told', async () => {
  const changed = { ...options, description: { ...description, mean: [0.1, 0.4, 0.3] as const } };
  const error = await verifyLabels(full, changed).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', field: 'teacher: fingerprint' });
  const { expected, found } = error as { expected: string; found: string };
  expect(expected).not.toBe(found);
  const told = await verifyLabels(full, { ...changed, accept: ['teacher'] });
  expect(told.archive.kl).toBeGreaterThan(100 * told.control.kl);
  const others = temporary.path('others');
  await cp(images, others, { recursive: true });
  await writeImage(others, '0/0.png', 99, [9, 11]);
  await expect(verifyLabels(full, { ...options, images: others })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field: 'images',
  });
  await verifyLabels(full, { ...options, images: others, accept: ['images'] });
  await rm(join(others, '0/0.png'));
  await expect(
    verifyLabels(full, { ...options, images: others, accept: ['images'] }),
  ).rejects.toMatchObject({ field: 'images', expected: '15 images', found: 14 });
});

test('labels whose views are not known cannot be made again', async () => {
  const golden = fileURLToPath(new URL('../golden/archives/topk', import.meta.url));
  await expect(verifyLabels(golden, options)).rejects.toMatchObject({
    code: 'UNSUPPORTED',
  });
});

test('the teacher goes with its images', async () => {
  expect(await softpack(['verify', full, '--teacher', teacher])).toMatchObject({ code: 2 });
});
