import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type LabelArchive, openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/writer.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { packedImages } from '#src/augment/packed-images.js';
import { renderViews } from '#src/augment/replay.js';
import type { AugmentationSpec } from '#src/augment/spec.js';
import { loadCodec } from '#src/codec/load.js';
import { NoneCodec } from '#src/codec/none.js';
import { VqaeTrainer } from '#src/codec/vqae/trainer.js';
import { type Batch, createLoader, type LoaderOptions } from '#src/loader/loader.js';
import { loadKernels } from '#src/native/index.js';
import { syntheticLabels, syntheticLogits } from '../codec/labels.js';

const CLASSES = 21;
const SAMPLES = 37;
const EPOCHS = 3;
const augmentation: AugmentationSpec = {
  generator: 'philox4x32-10',
  seed: 4,
  size: [6, 5],
  crop: { scale: [0.5, 1], ratio: [0.8, 1.25] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 0.5 },
};
const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.3, 0.3, 0.3] } as const;
const images = packedImages(
  Uint8Array.from({ length: SAMPLES * 8 * 7 * 3 }, (_, i) => (i * 2654435761) >>> 24),
  8,
  7,
);
const kernels = loadKernels();
let dir: string;
let archive: LabelArchive;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-loader-'));
  const labels = syntheticLabels(300, CLASSES, 8);
  const config = { classes: CLASSES, dh: 21, dc: 7, k: 8, tau: 8, eps: 1e-6 };
  const { codec } = await new VqaeTrainer(config, labels, kernels, {
    steps: 20,
    batch: 32,
  }).train();
  archive = await write('vqae', codec);
});

afterAll(async () => {
  await archive.close();
  await rm(dir, { recursive: true });
});

async function write(
  name: string,
  codec: NoneCodec | Awaited<ReturnType<VqaeTrainer['train']>>['codec'],
) {
  const spec = {
    classes: CLASSES,
    samples: SAMPLES,
    epochs: EPOCHS,
    tau: codec.tau,
    codec: codec.parts(),
    layout: codec.layout,
    decoding: codec.decoding,
    augmentation,
  };
  await using writer = await createArchive(join(dir, name), spec);
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const logits = syntheticLogits(SAMPLES, CLASSES, 12, epoch);
    const context = { epoch, samples: { start: 0, count: SAMPLES } };
    await writer.writeRow(epoch, { codes: await codec.encode(logits, context) });
  }
  await writer.finish();
  return openArchive(join(dir, name));
}

function options(change: Partial<LoaderOptions> = {}): LoaderOptions {
  return { archive, images, normalisation, batchSize: 8, seed: 3, workers: 0, ...change };
}

async function collect(change: Partial<LoaderOptions> = {}): Promise<Batch[]> {
  await using loader = createLoader(options(change));
  const batches: Batch[] = [];
  for await (const batch of loader) batches.push(batch);
  return batches;
}

function digest(batches: readonly Batch[]): string {
  const hash = createHash('sha256');
  for (const { epoch, index, sampleIds, xs, ys } of batches) {
    hash.update(`${epoch} ${index}`).update(sampleIds).update(xs).update(ys);
  }
  return hash.digest('hex');
}

describe('batches', () => {
  test('hold the decoded labels and rendered views of their samples', async () => {
    const codec = loadCodec(archive.codecParts, kernels);
    const augmenter = new Augmenter(augmentation, images);
    for (const { epoch, sampleIds, xs, xsShape, ys, ysShape } of await collect()) {
      const [labels, views] = [new Float32Array(ys.length), new Float32Array(xs.length)];
      const row = await archive.readRow(epoch);
      codec.decode({ row, labels: sampleIds, context: { epoch, samples: sampleIds }, out: labels });
      renderViews(augmenter, images, epoch, sampleIds, normalisation, views);
      expect(ys).toEqual(labels);
      expect(xs).toEqual(views);
      expect(ysShape).toEqual([sampleIds.length, CLASSES]);
      expect(xsShape).toEqual([sampleIds.length, 6, 5, 3]);
    }
  });

  test('show every sample once an epoch, in an order of its own', async () => {
    const batches = await collect();
    const orders = Array.from({ length: EPOCHS }, (_, epoch) =>
      batches.filter((batch) => batch.epoch === epoch).flatMap(({ sampleIds }) => [...sampleIds]),
    );
    const all = Array.from({ length: SAMPLES }, (_, i) => i);
    for (const order of orders) expect([...order].sort((a, b) => a - b)).toEqual(all);
    expect(orders[0]).not.toEqual(orders[1]);
    const plain = await collect({ shuffle: false, epochs: { from: 1, to: 2 } });
    expect(plain.flatMap(({ sampleIds }) => [...sampleIds])).toEqual(all);
    const whole = await collect({ dropLast: true });
    expect(whole.map(({ sampleIds }) => sampleIds.length)).toEqual(new Array(12).fill(8));
  });

  test('are the same bytes for any number of workers and any prefetch', async () => {
    const expected = digest(await collect());
    for (const workers of [1, 2, 7]) {
      for (const prefetch of [1, 5]) {
        expect(digest(await collect({ workers, prefetch }))).toBe(expected);
      }
    }
  });

  test('go on after every batch as if nothing had happened', async () => {
    const all = await collect();
    for (let cut = 0; cut <= all.length; cut++) {
      await using loader = createLoader(options());
      const before: Batch[] = [];
      if (cut > 0) {
        for await (const batch of loader) {
          before.push(batch);
          if (before.length === cut) break;
        }
      }
      const resume = JSON.parse(JSON.stringify(loader.state()));
      expect(JSON.stringify(resume).length).toBeLessThan(300);
      expect(digest([...before, ...(await collect({ resume }))])).toBe(digest(all));
    }
  });

  test('carry labels alone where there are no images', async () => {
    const [batch] = await collect({ images: undefined });
    expect(batch.xs.length).toBe(0);
    expect(batch.ys.length).toBe(8 * CLASSES);
  });

  test('come from float16 labels as well', async () => {
    await using full = await write(
      'none',
      new NoneCodec({ classes: CLASSES, tau: 8, store: 'logits' }),
    );
    const expected = await collect({ archive: full });
    expect(digest(await collect({ archive: full, workers: 1 }))).toBe(digest(expected));
    const rows = expected.flatMap(({ ys }) => [...ys.subarray(0, CLASSES)]);
    expect(rows.every((value) => value > 0)).toBe(true);
  });
});

describe('asTfDataset', () => {
  test('trains by fitDataset over all epochs, and leaks no tensor', async () => {
    await tf.setBackend('cpu');
    const model = tf.sequential({
      layers: [
        tf.layers.flatten({ inputShape: [6, 5, 3] }),
        tf.layers.dense({ units: CLASSES, activation: 'softmax' }),
      ],
    });
    model.compile({ optimizer: 'sgd', loss: 'categoricalCrossentropy' });
    await using loader = createLoader(options({ workers: 1 }));
    const dataset = loader.asTfDataset(tf);
    let ends = 0;
    const before = tf.memory().numTensors;
    const history = await model.fitDataset(dataset, {
      epochs: EPOCHS,
      verbose: 0,
      callbacks: {
        onEpochEnd: async () => {
          ends++;
        },
      },
    });
    expect(ends).toBe(EPOCHS);
    expect(history.history.loss.every(Number.isFinite)).toBe(true);
    expect(loader.state()).toMatchObject({ epoch: EPOCHS, delivered: 0 });
    expect(loader.metrics().batches).toBe(EPOCHS * Math.ceil(SAMPLES / 8));
    // Nothing but what fitting itself keeps (its step counter) may be left.
    expect(tf.memory().numTensors - before).toBeLessThanOrEqual(1);
    model.dispose();
  });
});

describe('a loader', () => {
  test('stops at the signal', async () => {
    const controller = new AbortController();
    await using loader = createLoader(options({ workers: 1, signal: controller.signal }));
    const read = async () => {
      for await (const { index } of loader) if (index === 1) controller.abort(new Error('enough'));
    };
    await expect(read()).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test.each([
    ['batchSize', { batchSize: 0 }],
    ['workers', { workers: 1.5 }],
    ['prefetch', { prefetch: 0 }],
    ['epochs.to', { epochs: { from: 0, to: 4 } }],
    ['normalisation', { normalisation: undefined }],
    ['images', { images: packedImages(new Uint8Array(8 * 7 * 3), 8, 7) }],
    ['resume.seed', { resume: { version: 1, archiveId: '', seed: 9, epoch: 0, delivered: 0 } }],
  ] as const)('refuses a bad %s', (field, change) => {
    const state = createLoader(options()).state();
    const fixed =
      'resume' in change ? { resume: { ...change.resume, archiveId: state.archiveId } } : change;
    expect(() => createLoader(options(fixed))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', field }),
    );
  });

  test('refuses the state of another archive, with both ids', () => {
    const resume = { version: 1, archiveId: 'other', seed: 3, epoch: 0, delivered: 0 } as const;
    expect(() => createLoader(options({ resume }))).toThrow(
      expect.objectContaining({ field: 'resume.archiveId', found: 'other' }),
    );
  });
});
