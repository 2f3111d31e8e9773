import { mkdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { BatchSamples, isDrawn } from '#src/archive/pruning.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { prunedBatches } from '#src/loader/kept-batches.js';
import { createLoader } from '#src/loader/loader.js';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import type { CacheLabelsOptions } from '#src/pipeline/cache-options.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { softpack } from '../cli/softpack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { writeImage } from '../images/fixture.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const [EPOCHS, SAMPLES, CLASSES] = [6, 20, 5];
const logits = syntheticLogits(EPOCHS * SAMPLES, CLASSES);
const source = memoryLabelSource(logits, { epochs: EPOCHS, samples: SAMPLES, classes: CLASSES });
const all = { start: 0, count: SAMPLES };
const TAUS = [20, 20, 10, 10, 2, 2];

/** softmax(z / tau) in float64. */
function labelsAt(epoch: number, tau: number, sample: number): number[] {
  const at = (epoch * SAMPLES + sample) * CLASSES;
  const e = [...logits.subarray(at, at + CLASSES)].map((z) => Math.exp(z / tau));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((value) => value / sum);
}

function expectLabels(found: Float32Array, epoch: number, tau: number, samples: Iterable<number>) {
  let at = 0;
  for (const sample of samples) {
    for (const value of labelsAt(epoch, tau, sample))
      expect(Math.abs(found[at++] - value)).toBeLessThan(2e-3);
  }
  expect(at).toBe(found.length);
}

const scheduled = directory.path('scheduled');
await packLogits({ source, out: scheduled, codec: { name: 'none' }, tauSchedule: [20, 10, 2] });

test('labels are decoded at the temperature of their epoch, or at the one that is asked for', async () => {
  await using archive = await openArchive(scheduled);
  expect(archive.manifest).toMatchObject({
    tau: 20,
    tauSchedule: [
      [0, 20],
      [2, 10],
      [4, 2],
    ],
  });
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    expect(archive.temperatureOf(epoch)).toBe(TAUS[epoch]);
    expectLabels(await archive.labels(epoch, all), epoch, TAUS[epoch], Array(SAMPLES).keys());
    const ids = Uint32Array.of(7, 3);
    expectLabels(await archive.labels(epoch, ids, { tau: 1.5 }), epoch, 1.5, ids);
  }
});

test.each([
  [{ workers: 0 }],
  [{ workers: 2, batchSize: 3 }],
  [{ workers: 1, epochs: { from: 3, to: 6 } }],
  [{ workers: 0, batchSize: 8, buffers: 'slots' as const }],
])('every batch of a loader has the temperature of its epoch: %j', async (options) => {
  await using archive = await openArchive(scheduled);
  await using loader = createLoader({ archive, batchSize: 6, ...options });
  let batches = 0;
  for await (const { epoch, tau, sampleIds, ys, release } of loader) {
    expect(tau).toBe(TAUS[epoch]);
    expectLabels(ys, epoch, tau, sampleIds);
    batches++;
    release();
  }
  expect(batches).toBe(loader.batchesPerEpoch * (loader.epochs.to - loader.epochs.from));
});

test('of a pruned archive the temperature is that of the epoch that draws the batch', async () => {
  const out = directory.path('pruned');
  const prune = { ratio: 2, batchSize: 5 };
  const codec = { name: 'topk', k: CLASSES, values: 'logits' } as const;
  await packLogits({ source, out, codec, prune, tauSchedule: TAUS });
  await using archive = await openArchive(out);
  expect(archive.temperatureOf(EPOCHS - 1)).toBe(2);
  const pruning = archive.manifest.pruning;
  if (pruning === undefined || !isDrawn(pruning)) throw new Error('not pruned');
  const rows = new BatchSamples(pruning, 5);
  const first = rows.at(0);
  expectLabels(await archive.labels(0, { start: 0, count: 5 }), first.epoch, 20, first.samples);
  const seen = new Set<number>();
  for await (const { epoch, tau, sampleIds, ys } of prunedBatches({ archive, seed: 3 })) {
    expect(tau).toBe(TAUS[epoch]);
    seen.add(tau);
    // The views are of the epoch whose kept batch has these samples.
    const from = Array.from({ length: archive.epochs }, (_, row) => rows.at(row)).find(
      ({ samples }) => samples.join() === sampleIds.join(),
    );
    expectLabels(ys, from?.epoch ?? -1, tau, sampleIds);
  }
  expect([...seen]).toEqual([20, 10, 2]);
});

test('an archive that is packed again keeps its temperatures unless others are asked for', async () => {
  const again = directory.path('again');
  await packLogits({
    source: scheduled,
    out: again,
    codec: { name: 'topk', k: 3, values: 'logits' },
  });
  const one = directory.path('one');
  await packLogits({ source: scheduled, out: one, codec: { name: 'topk', k: 3 }, tau: 5 });
  const lpqld = directory.path('lpqld');
  const codec = { name: 'none' } as const;
  await packLogits({ source: scheduled, out: lpqld, codec, tau: 5, tauSchedule: 'lpqld', keep: 2 });
  const facts = async (path: string) => {
    await using archive = await openArchive(path);
    return { tau: archive.manifest.tau, tauSchedule: archive.manifest.tauSchedule };
  };
  expect(await facts(again)).toEqual({
    tau: 20,
    tauSchedule: [
      [0, 20],
      [2, 10],
      [4, 2],
    ],
  });
  expect(await facts(one)).toEqual({ tau: 5, tauSchedule: undefined });
  const decay = TAUS.map((_, i) => [i, 5 * 0.7 ** i]);
  expect(await facts(lpqld)).toEqual({ tau: 5, tauSchedule: decay });
  // Epochs that are served again have the labels of what is stored, at their own temperature.
  await using archive = await openArchive(lpqld);
  expectLabels(await archive.labels(5, all), 1, 5 * 0.7 ** 5, Array(SAMPLES).keys());
});

describe('cache', () => {
  test.each([
    ['uncompressed', {}],
    ['in one pass', { codec: { name: 'topk', k: 4, values: 'logits' }, passes: 1 }],
    ['in two passes', { codec: { name: 'topk', k: 4, values: 'logits' }, passes: 2 }],
  ] as const)('records a schedule, and a rerun finds it: %s', async (name, how) => {
    const images = directory.path(`images ${name}`);
    await mkdir(images);
    for (let i = 0; i < 4; i++) await writeImage(images, `class${i % 2}/${i}.png`, i, [10, 12]);
    const teacher = fileURLToPath(new URL('../nn/models/onnx-nchw/model.onnx', import.meta.url));
    const out = directory.path(`cached ${name}`);
    const options: CacheLabelsOptions = {
      ...{ teacher, images, out, epochs: 4, workers: 1, acceptFinished: true, ...how },
      ...{ description: { preprocessing: 'tf' }, tauSchedule: [8, 4] },
    };
    await cacheLabels(options);
    await using archive = await openArchive(out);
    expect(archive.manifest).toMatchObject({
      tau: 8,
      tauSchedule: [
        [0, 8],
        [2, 4],
      ],
    });
    expect((await cacheLabels(options)).made).toBe(0);
    const other = cacheLabels({ ...options, tauSchedule: [8, 5] });
    await expect(other).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
      field: expect.stringContaining('tauSchedule'),
    });
  });
});

test('the commands take a schedule, show it, and decode at it', async () => {
  const out = directory.path('by-command');
  const packed = await softpack([
    'pack',
    scheduled,
    '--codec',
    'none',
    '--tau-schedule',
    'lpqld',
    '-o',
    out,
  ]);
  expect(packed).toMatchObject({ code: 0 });
  const shown = await softpack(['inspect', out]);
  expect(shown.out).toContain('20 from epoch 0, 14 from epoch 1, 9.8 from epoch 2');
  const file = directory.path('labels.json');
  const cat = async (...more: string[]) => {
    const args = [
      'cat',
      out,
      '--epoch',
      '2',
      '--samples',
      '4:5',
      '-f',
      'json',
      '-o',
      file,
      ...more,
    ];
    expect(await softpack(args)).toMatchObject({ code: 0 });
    const [{ probabilities }] = JSON.parse(await readFile(file, 'utf8'));
    return Float32Array.from(probabilities);
  };
  expectLabels(await cat(), 2, 9.8, [4]);
  expectLabels(await cat('--tau', '3'), 2, 3, [4]);
  const bad = await softpack([
    'pack',
    scheduled,
    '--codec',
    'none',
    '--tau-schedule',
    '20,x',
    '-o',
    out,
  ]);
  expect(bad).toMatchObject({ code: 2, err: expect.stringContaining('--tau-schedule') });
});
