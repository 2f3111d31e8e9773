import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SoftpackError } from '#src/errors.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { batchNormalise, normaliseWith } from '#src/nn/batch-norm.js';
import { ConvNet, type ConvNetConfig } from '#src/nn/convnet.js';
import { predict } from '#src/nn/network.js';
import { loadConvNet, saveConvNet } from '#src/nn/weights.js';
import { kdLoss } from '#src/training/loss.js';
import { AdamW } from '#src/training/optimiser.js';
import { type Batch, trainModel, trainStep } from '#src/training/train.js';

const CONFIG: ConvNetConfig = { inputSize: 12, widths: [4, 6], blocks: [1, 1], classes: 5 };
const loss = (logits: tf.Tensor2D, labels: tf.Tensor2D): tf.Scalar => kdLoss(logits, labels, 1);

/** Images whose brightness tells their class, so that a few steps suffice to learn them. */
function batches(count: number, size = 20, config = CONFIG): Batch[] {
  const { inputSize, classes } = config;
  let state = 7;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Array.from({ length: count }, () => {
    const pixels = inputSize * inputSize * 3;
    const xs = new Float32Array(size * pixels);
    const ys = new Float32Array(size * classes);
    for (let i = 0; i < size; i++) {
      const own = Math.floor(uniform() * classes);
      ys[i * classes + own] = 1;
      for (let j = 0; j < pixels; j++) xs[i * pixels + j] = own - 2 + uniform();
    }
    return { xs, ys };
  });
}

async function values(model: ConvNet): Promise<number[]> {
  return [...(await model.parameters()).values()].flatMap((parameter) => [...parameter.values]);
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'softpack-nn-'));
  await selectBackend({ backend: 'wasm' });
});
afterAll(() => rm(folder, { recursive: true }));

describe('batchNormalise', () => {
  it('agrees, gradients included, with the composed norm on the cpu backend', async () => {
    const results: Float32Array[][] = [];
    for (const backend of ['wasm', 'cpu'] as const) {
      await selectBackend({ backend });
      const tensors = tf.tidy(() => {
        const x = tf.randomNormal([3, 4, 5, 6], 2, 3, 'float32', 1) as tf.Tensor4D;
        const gamma = tf.randomUniform([6], 0.5, 2, 'float32', 2) as tf.Tensor1D;
        const beta = tf.randomNormal([6], 0, 1, 'float32', 3) as tf.Tensor1D;
        const weights = tf.randomNormal([3, 4, 5, 6], 0, 1, 'float32', 4);
        const own = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor): tf.Tensor =>
          batchNormalise(
            a as tf.Tensor4D,
            b as tf.Tensor1D,
            c as tf.Tensor1D,
            1e-3,
            () => undefined,
          );
        const composed = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor): tf.Tensor => {
          const { mean, variance } = tf.moments(a, [0, 1, 2]);
          return a.sub(mean).div(variance.add(1e-3).sqrt()).mul(b).add(c);
        };
        const norm = backend === 'wasm' ? own : composed;
        const gradients = tf.grads((a, b, c) => norm(a, b, c).mul(weights).sum())([x, gamma, beta]);
        return [norm(x, gamma, beta), ...gradients];
      });
      results.push(await Promise.all(tensors.map(async (t) => Float32Array.from(await t.data()))));
      tf.dispose(tensors);
    }
    await selectBackend({ backend: 'wasm' });
    const [own, composed] = results;
    own.forEach((tensor, i) => {
      const largest = Math.max(...composed[i].map(Math.abs));
      tensor.forEach((value, j) => {
        expect(Math.abs(value - composed[i][j]) / largest).toBeLessThan(2e-6);
      });
    });
  });

  it('reports the moments that, given back, normalise the batch alike', async () => {
    const difference = tf.tidy(() => {
      const x = tf.randomNormal([2, 3, 3, 4], 1, 2, 'float32', 5) as tf.Tensor4D;
      const gamma = tf.tensor1d([1, 2, 0.5, -1]);
      const beta = tf.tensor1d([0, 1, 2, 3]);
      let moments: tf.Tensor1D[] = [];
      const y = batchNormalise(x, gamma, beta, 1e-5, (mean, variance) => {
        moments = [tf.keep(mean.clone()), tf.keep(variance.clone())];
      });
      const again = normaliseWith(x, gamma, beta, 1e-5, moments[0], moments[1]);
      tf.dispose(moments);
      return y.sub(again).abs().max();
    });
    expect((await difference.data())[0]).toBeLessThan(1e-5);
    difference.dispose();
  });
});

describe('ConvNet', () => {
  it('gives the same gradients on wasm as on the cpu backend', async () => {
    const [batch] = batches(1, 4);
    const gradients: Float32Array[][] = [];
    for (const backend of ['wasm', 'cpu'] as const) {
      await selectBackend({ backend });
      using model = ConvNet.create(CONFIG, 3);
      const named = tf.tidy(() => {
        const xs = tf.tensor4d(batch.xs, [4, 12, 12, 3]);
        const ys = tf.tensor2d(batch.ys, [4, 5]);
        return tf.variableGrads(
          () => loss(model.apply(xs, { training: true }), ys),
          model.trainable as tf.Variable[],
        ).grads;
      });
      const inOrder = model.trainable.map(({ name }) => named[name]);
      gradients.push(
        await Promise.all(inOrder.map(async (t) => Float32Array.from(await t.data()))),
      );
      tf.dispose(named);
    }
    await selectBackend({ backend: 'wasm' });
    const largest = Math.max(...gradients[1].flatMap((g) => [...g].map(Math.abs)));
    gradients[0].forEach((gradient, i) => {
      gradient.forEach((value, j) => {
        expect(Math.abs(value - gradients[1][i][j])).toBeLessThan(1e-5 * largest);
      });
    });
    expect(largest).toBeGreaterThan(1e-3);
  });

  it('learns, leaves no tensor behind, and repeats itself to the bit for a seed', async () => {
    const runs: { losses: Float32Array; weights: number[] }[] = [];
    for (const seed of [1, 1, 2]) {
      const before = tf.memory().numTensors;
      const model = ConvNet.create(CONFIG, seed);
      const optimizer = new AdamW(model.trainable, { learningRate: 0.01, weightDecay: 0.01 });
      const afterSetup = tf.memory().numTensors;
      const losses = await trainModel(model, batches(30), {
        optimizer,
        schedule: () => 0.01,
        loss,
        steps: 30,
      });
      expect(tf.memory().numTensors).toBe(afterSetup);
      runs.push({ losses, weights: await values(model) });
      optimizer.dispose();
      model.dispose();
      expect(tf.memory().numTensors).toBe(before);
    }
    const [first, again, other] = runs;
    expect(first.losses[29]).toBeLessThan(first.losses[0] / 2);
    expect(again).toEqual(first);
    expect(other.weights).not.toEqual(first.weights);
  });

  it('predicts from the statistics it has seen, whatever else is in the batch', async () => {
    using model = ConvNet.create(CONFIG, 1);
    using optimizer = new AdamW(model.trainable, { learningRate: 0.01 });
    for (const batch of batches(10)) await trainStep(model, batch, optimizer, loss);
    const [{ xs }] = batches(1, 6);
    const pixels = 12 * 12 * 3;
    const before = tf.memory().numTensors;
    const together = await predict(model, xs);
    const alone = await predict(model, xs.slice(2 * pixels, 3 * pixels));
    expect(tf.memory().numTensors).toBe(before);
    alone.forEach((value, i) => {
      expect(value).toBeCloseTo(together[2 * 5 + i], 5);
    });
  });

  it('survives a file at half precision, which holds its metadata too', async () => {
    const path = join(folder, 'net.safetensors');
    using model = ConvNet.create(CONFIG, 1);
    await saveConvNet(model, path, { note: 'trained by hand' });
    const { model: loaded, metadata } = await loadConvNet(path);
    expect(metadata.get('note')).toBe('trained by hand');
    expect(loaded.config).toEqual(CONFIG);
    const [saved, read] = [await values(model), await values(loaded)];
    read.forEach((value, i) => {
      expect(Math.abs(value - saved[i])).toBeLessThanOrEqual(
        Math.abs(saved[i]) * 2 ** -11 + 2 ** -25,
      );
    });
    // A second trip changes nothing: every weight is a half float already.
    const second = join(folder, 'again.safetensors');
    await saveConvNet(loaded, second, { note: 'trained by hand' });
    expect(await readFile(second)).toEqual(await readFile(path));
    loaded.dispose();
  });

  it('refuses files that hold no network, without leaving variables', async () => {
    const path = join(folder, 'bad.safetensors');
    using model = ConvNet.create(CONFIG, 1);
    const before = tf.memory().numTensors;
    await expect(loadConvNet(join(folder, 'none'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await writeFile(path, 'not a network at all');
    await expect(loadConvNet(path)).rejects.toMatchObject({ code: 'INVALID_FILE' });
    await saveConvNet(model, path, {});
    await truncate(path, (await readFile(path)).length - 2);
    await expect(loadConvNet(path)).rejects.toMatchObject({ code: 'INVALID_FILE' });
    const parameters = new Map([['stage0.kernel', new Float32Array(7)]]);
    expect(() => ConvNet.fromParameters(CONFIG, parameters)).toThrow(SoftpackError);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('names what is wrong with a configuration', () => {
    const many = Array.from({ length: 6000 }, () => 1);
    for (const [bad, field] of [
      [{ widths: [] }, 'widths'],
      [{ widths: [4, 0] }, 'widths[1]'],
      [{ blocks: [1] }, 'blocks'],
      [{ blocks: [1, -1] }, 'blocks[1]'],
      [{ blocks: [10_000, 1] }, 'blocks'],
      [{ widths: many, blocks: many }, 'blocks'],
      [{ classes: 0 }, 'classes'],
      [{ inputSize: 1.5 }, 'inputSize'],
    ] as const) {
      const create = () => ConvNet.create({ ...CONFIG, ...bad }, 1);
      expect(create).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field }));
    }
  });
});

describe('trainModel', () => {
  it('stops at an abort, at too few batches and at a mismatched batch', async () => {
    using model = ConvNet.create(CONFIG, 1);
    using optimizer = new AdamW(model.trainable, { learningRate: 0.01 });
    const controller = new AbortController();
    const options = { optimizer, schedule: () => 0.01, loss, steps: 3 };
    const before = tf.memory().numTensors;
    const aborted = trainModel(model, batches(3), {
      ...options,
      signal: controller.signal,
      onProgress: ({ step }) => step === 2 && controller.abort(),
    });
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(trainModel(model, batches(2), options)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'batches',
    });
    const [{ xs, ys }] = batches(1);
    const mismatched = [{ xs: xs.slice(1), ys }];
    await expect(trainModel(model, mismatched, options)).rejects.toMatchObject({ field: 'xs' });
    expect(tf.memory().numTensors).toBe(before);
  });

  it('says so when training diverges', async () => {
    using model = ConvNet.create(CONFIG, 1);
    using optimizer = new AdamW(model.trainable, { learningRate: 0.01 });
    const [{ xs, ys }] = batches(1);
    xs[0] = Number.NaN;
    const options = { optimizer, schedule: () => 0.01, loss, steps: 1 };
    await expect(trainModel(model, [{ xs, ys }], options)).rejects.toMatchObject({
      code: 'NON_FINITE',
    });
  });
});
