import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DataLoader } from '#src/loader/data-loader.js';
import { createLoader } from '#src/loader/loader.js';
import type { LoaderOptions } from '#src/loader/options.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { kdLoss } from '#src/training/loss.js';
import { PackedLoss } from '#src/training/packed-loss.js';
import { temporaryDirectory } from '../temporary.js';
import {
  CLASSES,
  collect,
  EPOCHS,
  images,
  normalisation,
  SAMPLES,
  trainCodec,
  writeArchive,
} from './fixture.js';

const temporary = await temporaryDirectory();
const archive = await writeArchive(temporary.path('vqae'), await trainCodec());
const { tau } = archive.manifest;
beforeAll(() => selectBackend({ backend: 'wasm' }));
afterAll(() => archive.close());

function options(change: Partial<LoaderOptions> = {}): LoaderOptions {
  return { archive, images, normalisation, batchSize: 8, seed: 3, workers: 1, ...change };
}

/** Logits from pixels; the same first weights every time. */
function student(): tf.Sequential {
  const kernelInitializer = tf.initializers.glorotUniform({ seed: 7 });
  return tf.sequential({
    layers: [
      tf.layers.flatten({ inputShape: [6, 5, 3] }),
      tf.layers.dense({ units: 16, activation: 'relu', kernelInitializer }),
      tf.layers.dense({ units: CLASSES, kernelInitializer }),
    ],
  });
}

const distillation = (y: tf.Tensor, z: tf.Tensor) =>
  kdLoss(z as tf.Tensor2D, y as tf.Tensor2D, tau);

async function weightsOf(model: tf.Sequential): Promise<Float32Array[]> {
  const weights = model.getWeights();
  const values = await Promise.all(weights.map(async (w) => (await w.data()) as Float32Array));
  model.dispose();
  return values;
}

async function fitted(change: Partial<LoaderOptions> = {}): Promise<Float32Array[]> {
  const model = student();
  model.compile({ optimizer: tf.train.momentum(0.1, 0.9), loss: distillation });
  await using loader = createLoader(options(change));
  await model.fitDataset(loader.asTfDataset(tf), { epochs: EPOCHS, verbose: 0 });
  return weightsOf(model);
}

describe('a student', () => {
  test('reaches the same weights by fitDataset, a loop of its own, and straight from codes', async () => {
    const expected = await fitted();
    const loop = student();
    const optimizer = tf.train.momentum(0.1, 0.9);
    await using loader = createLoader(options({ workers: 2 }));
    for await (const { xs, xsShape, ys, ysShape } of loader) {
      tf.tidy(() => {
        const images = tf.tensor4d(xs, [...xsShape]);
        const labels = tf.tensor2d(ys, [...ysShape]);
        optimizer.minimize(() =>
          distillation(labels, loop.apply(images, { training: true }) as tf.Tensor),
        );
      });
    }
    optimizer.dispose();
    expect(await weightsOf(loop)).toEqual(expected);

    const coded = student();
    const other = tf.train.momentum(0.1, 0.9);
    using loss = new PackedLoss({ codec: archive.codecParts, tau });
    await using codes = createLoader(options({ labels: 'codes' }));
    for await (const { xs, xsShape, codes: packed } of codes) {
      if (packed === undefined) throw new Error('no codes');
      tf.tidy(() => {
        const images = tf.tensor4d(xs, [...xsShape]);
        other.minimize(() =>
          loss.loss(coded.apply(images, { training: true }) as tf.Tensor2D, packed),
        );
      });
    }
    other.dispose();
    for (const [i, weights] of (await weightsOf(coded)).entries()) {
      const worst = weights.reduce((most, w, j) => Math.max(most, Math.abs(w - expected[i][j])), 0);
      // Float32 rounding, grown over 15 steps with momentum.
      expect(worst).toBeLessThan(2e-5);
    }
  });

  test('sees the order, and not where batches lie', async () => {
    const expected = await fitted();
    expect(await fitted({ seed: 4 })).not.toEqual(expected);
    expect(await fitted({ buffers: 'slots', prefetch: 2 })).toEqual(expected);
  });
});

describe('asTfDataset', () => {
  test('trains over all epochs, leaks no tensor and keeps no memory', async () => {
    const model = student();
    model.compile({ optimizer: 'sgd', loss: distillation });
    await using loader = createLoader(options());
    const dataset = loader.asTfDataset(tf);
    expect(dataset.size).toBe(5);
    await model.fitDataset(dataset, { epochs: 1, verbose: 0 });
    const before = tf.memory().numTensors;
    const history = await model.fitDataset(dataset, { epochs: EPOCHS - 1, verbose: 0 });
    expect(history.history.loss.length).toBe(EPOCHS - 1);
    expect(loader.state()).toMatchObject({ epoch: EPOCHS, delivered: 0 });
    expect(loader.metrics().batches).toBe(EPOCHS * Math.ceil(SAMPLES / 8));
    expect(tf.memory().numTensors).toBe(before);
    for (let epoch = 0; epoch < 12; epoch++) {
      loader.seek(epoch % EPOCHS);
      await model.fitDataset(dataset, { epochs: 1, verbose: 0 });
    }
    expect(tf.memory().numTensors).toBe(before);
    model.dispose();
  });

  test('goes through all epochs in one iterator where batches an epoch are given', async () => {
    const model = student();
    model.compile({ optimizer: 'sgd', loss: distillation });
    await using loader = createLoader(options());
    const dataset = loader.asTfDataset(tf, { mode: 'continuous' });
    expect(dataset.size).toBe(15);
    await model.fitDataset(dataset, { batchesPerEpoch: 3, epochs: 5, verbose: 0 });
    expect(loader.state()).toMatchObject({ epoch: EPOCHS });
    model.dispose();
  });

  test('stops where training stops, and goes on there', async () => {
    const model = student();
    model.compile({ optimizer: 'sgd', loss: distillation });
    await using loader = createLoader(options());
    const dataset = loader.asTfDataset(tf);
    await model.fitDataset(dataset, {
      epochs: EPOCHS,
      verbose: 0,
      callbacks: {
        onBatchEnd: async (batch) => {
          if (batch === 2) model.stopTraining = true;
        },
      },
    });
    const { epoch, delivered } = loader.state();
    expect(epoch).toBe(0);
    const seen = delivered / 8;
    expect(seen).toBeGreaterThanOrEqual(3);
    const rest: number[] = [];
    for await (const { index } of loader.epoch()) rest.push(index);
    expect(rest).toEqual([0, 1, 2, 3, 4].slice(seen));
    model.dispose();
  });

  test('repeats one epoch for validation and evaluateDataset', async () => {
    const model = student();
    model.compile({ optimizer: 'sgd', loss: distillation });
    await using train = createLoader(options());
    await using held = createLoader(options({ epochs: { from: 2, to: 3 }, shuffle: false }));
    const validationData = held.asTfDataset(tf, { mode: 'repeat' });
    const dataset = train.asTfDataset(tf);
    const { history } = await model.fitDataset(dataset, {
      epochs: EPOCHS,
      verbose: 0,
      validationData,
    });
    expect(history.val_loss.length).toBe(EPOCHS);
    const result = await model.evaluateDataset(validationData, {});
    const loss = (await (result as tf.Scalar).data())[0];
    expect(loss).toBeCloseTo(history.val_loss[EPOCHS - 1] as number, 5);
    tf.dispose(result);
    model.dispose();
  });

  test('refuses codes, which are no tensor, and keeps no slot of theirs', async () => {
    await using loader = createLoader(options({ labels: 'codes', buffers: 'slots', prefetch: 1 }));
    for (let round = 0; round < 4; round++) {
      const iterator = await loader.asTfDataset(tf).iterator();
      await expect(iterator.next()).rejects.toMatchObject({ code: 'UNSUPPORTED', field: 'labels' });
    }
  });
});

describe('PackedLoss', () => {
  test('is kdLoss of the decoded labels, value and gradient', async () => {
    const [batch] = await collect(options({ workers: 0 }));
    const [coded] = await collect(options({ workers: 0, labels: 'codes' }));
    const codes = coded.codes;
    if (codes === undefined) throw new Error('no codes');
    using loss = new PackedLoss({ codec: archive.codecParts, tau: 3 });
    const logits = tf.randomNormal([8, CLASSES], 0, 4, 'float32', 1) as tf.Tensor2D;
    const labels = tf.tensor2d(batch.ys, [8, CLASSES]);
    const before = tf.memory().numTensors;
    const packed = tf.valueAndGrad((z) => loss.loss(z as tf.Tensor2D, codes).mul(5) as tf.Scalar)(
      logits,
    );
    const decoded = tf.valueAndGrad((z) => kdLoss(z as tf.Tensor2D, labels, 3).mul(5) as tf.Scalar)(
      logits,
    );
    const values = await Promise.all([packed.value.data(), decoded.value.data()]);
    expect(values[0][0]).toBeCloseTo(values[1][0], 5);
    const gradients = await Promise.all([packed.grad.data(), decoded.grad.data()]);
    for (const [i, value] of gradients[0].entries()) expect(value).toBeCloseTo(gradients[1][i], 6);
    tf.dispose([packed.value, packed.grad, decoded.value, decoded.grad]);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([logits, labels]);
    expect(() => loss.loss(tf.zeros([3, CLASSES]), codes)).toThrow(
      expect.objectContaining({ field: 'logits' }),
    );
  });
});

describe('DataLoader', () => {
  test('is an epoch an iteration, as PyTorch has it', async () => {
    const collate = ({ epoch, index }: { epoch: number; index: number }) => `${epoch}.${index}`;
    await using train = new DataLoader({ ...options({ dropLast: true }), collate });
    expect(train).toMatchObject({ length: 4, batchSize: 8, shuffle: true, dropLast: true });
    const seen: string[][] = [];
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const names: string[] = [];
      for await (const name of train) names.push(name);
      seen.push(names);
    }
    expect(seen).toEqual([0, 1, 2].map((epoch) => [0, 1, 2, 3].map((i) => `${epoch}.${i}`)));
    const next = async () => (await train[Symbol.asyncIterator]().next()).value;
    await expect(next()).rejects.toMatchObject({ field: 'epoch', found: 3 });
    train.setEpoch(1);
    expect(await next()).toBe('1.0');
  });

  test('gives batches as they are without collate', async () => {
    await using train = new DataLoader(options({ workers: 0 }));
    for await (const { xs, ysShape } of train) {
      expect(xs.length).toBe(ysShape[0] * 6 * 5 * 3);
    }
  });
});
