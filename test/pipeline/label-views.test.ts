import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews } from '#src/augment/replay.js';
import type { AugmentationSpec } from '#src/augment/spec.js';
import { float16ToFloat32 } from '#src/core/half.js';
import { memoryImages } from '#src/images/memory.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { loadTeacher, NORMALISATION_KEY } from '#src/nn/teachers/load.js';
import { saveConvNet } from '#src/nn/weights.js';
import { type LabelViewsOptions, labelViews } from '#src/pipeline/label-views.js';

const [CLASSES, SAMPLES, EPOCHS] = [11, 19, 4];
const augmentation: AugmentationSpec = {
  generator: 'philox4x32-10',
  seed: 8,
  size: [8, 8],
  crop: { scale: [0.5, 1], ratio: [0.8, 1.25] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 0.5 },
};
const images = memoryImages(
  Uint8Array.from({ length: SAMPLES * 10 * 10 * 3 }, (_, i) => (i * 2654435761) >>> 24),
  10,
  10,
);
const normalisation = { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] } as const;
let dir: string;
let teacher: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-label-'));
  teacher = join(dir, 'teacher.safetensors');
  await selectBackend({ backend: 'wasm' });
  const config = { inputSize: 8, widths: [4, 8], blocks: [0, 1], classes: CLASSES };
  using model = ConvNet.create(config, 5);
  await saveConvNet(model, teacher, { [NORMALISATION_KEY]: JSON.stringify(normalisation) });
});

afterAll(() => rm(dir, { recursive: true }));

function label(name: string, change: Partial<LabelViewsOptions> = {}) {
  return labelViews({
    teacher,
    backend: 'wasm',
    images,
    augmentation,
    epochs: EPOCHS,
    classes: CLASSES,
    tau: 4,
    out: join(dir, name),
    workers: 1,
    ...change,
  });
}

async function filesOf(name: string): Promise<Buffer[]> {
  const names = (await readdir(join(dir, name))).sort();
  return Promise.all(names.map((file) => readFile(join(dir, name, file))));
}

test('keeps the float16 logits of every view, and how the views were made', async () => {
  const reports: number[] = [];
  const result = await label('plain', { batch: 8, onProgress: (done) => reports.push(done) });
  expect(result).toEqual({ labels: SAMPLES * EPOCHS });
  expect(reports).toEqual([0, 8, 16, 19, 27, 35, 38, 46, 54, 57, 65, 73, 76]);
  await using archive = await openArchive(join(dir, 'plain'));
  expect(archive.manifest.augmentation).toEqual(augmentation);
  expect(archive.manifest.tau).toBe(4);
  using same = await loadTeacher(teacher, { backend: 'wasm' });
  const views = new Float32Array(SAMPLES * 8 * 8 * 3);
  const range = { start: 0, count: SAMPLES };
  renderViews(new Augmenter(augmentation, images), images, 2, range, normalisation, views);
  const logits = await same.logits(views);
  const row = await archive.readRow(2);
  const stored = new Float32Array(SAMPLES * CLASSES);
  float16ToFloat32(new Uint16Array(row.buffer, row.byteOffset, stored.length), stored);
  for (const [i, value] of stored.entries()) {
    expect(Math.abs(value - logits[i])).toBeLessThanOrEqual(Math.abs(logits[i]) * 2 ** -10 + 1e-6);
  }
});

test('gives the same bytes with two teachers side by side, and after an interruption', async () => {
  await label('one');
  await label('two', { workers: 2 });
  expect(await filesOf('two')).toEqual(await filesOf('one'));
  const controller = new AbortController();
  const stopped = label('resumed', {
    signal: controller.signal,
    onProgress: (done) => done === 2 * SAMPLES && controller.abort(),
  });
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  const reports: number[] = [];
  const rest = await label('resumed', { onProgress: (done) => reports.push(done) });
  expect(reports[0]).toBe(2 * SAMPLES);
  expect(rest.labels).toBe(2 * SAMPLES);
  expect(await filesOf('resumed')).toEqual(await filesOf('one'));
});

test('refuses a teacher of other classes', async () => {
  const call = label('wrong', { classes: CLASSES + 1 });
  await expect(call).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'teacher' });
});

test('stops at the first pass of a teacher whose labels are nearly uniform, and keeps none of them', async () => {
  const reports: number[] = [];
  const call = label('uniform', { tau: 1e6, batch: 8, onProgress: (done) => reports.push(done) });
  await expect(call).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    field: teacher,
    message: expect.stringContaining('nearly uniform at temperature 1000000'),
  });
  expect(reports).toEqual([0]);
  expect(await readdir(join(dir, 'uniform'))).not.toContain('unfinished-row.safetensors');
  await label('uniform', { tau: 1e6, settled: true });
  await using archive = await openArchive(join(dir, 'uniform'));
  expect(archive.manifest.tau).toBe(1e6);
});
