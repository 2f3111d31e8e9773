import { fork } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { BackendName } from '#src/nn/backend/name.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { kdLoss } from '#src/training/loss.js';
import { AdamW } from '#src/training/optimiser.js';
import { trainStep } from '#src/training/train.js';
import { INSTALL_TIMEOUT, nativeTensorflow } from './native.js';

const CONFIG = { inputSize: 8, widths: [6, 10], blocks: [1, 1], classes: 7 };
const BATCH = 4;
const TAU = 2;
const loss = (logits: tf.Tensor2D, labels: tf.Tensor2D) => kdLoss(logits, labels, TAU);

let lacking: string | undefined;
beforeAll(async () => {
  lacking = await nativeTensorflow({ install: true });
}, INSTALL_TIMEOUT);

describe.each(['tensorflow', 'wasm'] as const)('%s agrees with cpu', (name) => {
  it('in logits, at training and at inference', async (context) => {
    if (name === 'tensorflow' && lacking !== undefined) context.skip(lacking);
    for (const training of [false, true]) {
      const run = async (backend: BackendName) => {
        await selectBackend({ backend });
        using model = ConvNet.create(CONFIG, 3);
        return onBatch(0, (xs) => model.apply(xs, { training }));
      };
      expect(relativeError(await run(name), await run('cpu'))).toBeLessThan(1e-5);
    }
  });

  it('in the gradient of every parameter', async (context) => {
    if (name === 'tensorflow' && lacking !== undefined) context.skip(lacking);
    const actual = await gradients(name);
    for (const [parameter, expected] of await gradients('cpu')) {
      const error = relativeError(actual.get(parameter), expected);
      expect(error, parameter).toBeLessThan(1e-4);
    }
  });

  it('in the losses of 50 training steps', async (context) => {
    if (name === 'tensorflow' && lacking !== undefined) context.skip(lacking);
    const [actual, expected] = [await fiftyLosses(name), await fiftyLosses('cpu')];
    expect(expected[49]).toBeLessThan(0.5 * expected[0]);
    // Rounding grows from step to step; the first ones are the sharp test.
    expect(relativeError(actual.slice(0, 10), expected.slice(0, 10))).toBeLessThan(1e-3);
    expect(relativeError(actual, expected)).toBeLessThan(0.02);
  });
});

describe('native TensorFlow', () => {
  it('keeps tensors and memory flat over 1,000 steps', async (context) => {
    if (lacking !== undefined) context.skip(lacking);
    await selectBackend({ backend: 'tensorflow' });
    using model = ConvNet.create({ ...CONFIG, widths: [6], blocks: [0] }, 3);
    using optimizer = new AdamW(model.trainable, { learningRate: 0.001 });
    const run = async (steps: number) => {
      for (let step = 0; step < steps; step++) {
        await trainStep(model, batch(step), optimizer, loss);
      }
      return { tensors: tf.memory().numTensors, rss: process.memoryUsage().rss };
    };
    const before = await run(100);
    const after = await run(1000);
    expect(after.tensors).toBe(before.tensors);
    // Slope below 0.1 MB a step; the garbage-collected heap breathes by tens of megabytes.
    expect(after.rss - before.rss).toBeLessThan(100 * 2 ** 20);
  });

  it('works in two worker threads at once, beside the main thread', async (context) => {
    if (lacking !== undefined) context.skip(lacking);
    const script = productScript();
    const threads = [1, 2].map(
      (factor) =>
        new Promise((done, fail) => {
          const worker = new Worker(script, { eval: true, workerData: factor });
          worker.once('message', done);
          worker.once('error', fail);
          worker.once('exit', (code) => fail(new Error(`exit ${code}`)));
        }),
    );
    expect(await Promise.all(threads)).toEqual([
      { name: 'tensorflow', sum: 300 * 64 },
      { name: 'tensorflow', sum: 300 * 128 },
    ]);
    await selectBackend({ backend: 'tensorflow' });
    expect(await onBatch(0, (xs) => xs.sum())).toHaveLength(1);
  });

  it.for([0, 0.25])('gives the step with slope %d of any number', async (slope, context) => {
    if (lacking !== undefined) context.skip(lacking);
    const values = [-2, -0, 0, 1e-30, 3, Number.POSITIVE_INFINITY, Number.NaN];
    const found: number[][] = [];
    for (const backend of ['tensorflow', 'cpu'] as const) {
      await selectBackend({ backend });
      const step = tf.tidy(() => tf.step(tf.tensor1d(values), slope));
      found.push([...(await step.data())]);
      step.dispose();
    }
    expect(found[0]).toEqual(found[1]);
  });

  it('works in forked processes', async (context) => {
    if (lacking !== undefined) context.skip(lacking);
    // node-pre-gyp, which finds the addon, would take this option for one of its own.
    const child = fork('test/nn/native-process.mjs', ['--dir', '/nowhere'], { execArgv: [] });
    const answer = await new Promise((done, fail) => {
      child.once('message', done);
      child.once('exit', (code) => fail(new Error(`exit ${code}`)));
    });
    expect(answer).toEqual({ name: 'tensorflow', sum: 64 });
  });
});

/** Sums 300 products of ones, 4 x 4 x 4, times the factor. */
function productScript(): string {
  return `(async () => {
    const { parentPort, workerData } = require('node:worker_threads');
    const { selectBackend } = await import(${JSON.stringify(new URL('../../dist/nn/backend/select.js', import.meta.url).href)});
    const { tf, name } = await selectBackend({ backend: 'tensorflow' });
    let sum = 0;
    for (let i = 0; i < 300; i++) {
      const t = tf.tidy(() => tf.matMul(tf.fill([4, 4], workerData), tf.ones([4, 4])).sum());
      sum += (await t.data())[0];
      t.dispose();
    }
    parentPort.postMessage({ name, sum });
  })();`;
}

function batch(seed: number) {
  const pixels = CONFIG.inputSize ** 2 * 3;
  const xs = Float32Array.from({ length: BATCH * pixels }, (_, i) => Math.sin(i * i + seed));
  const ys = new Float32Array(BATCH * CONFIG.classes).fill(0.2 / (CONFIG.classes - 1));
  for (let row = 0; row < BATCH; row++) ys[row * CONFIG.classes + row] = 0.8;
  return { xs, ys };
}

async function onBatch(seed: number, run: (xs: tf.Tensor4D) => tf.Tensor): Promise<Float32Array> {
  const { inputSize } = CONFIG;
  const result = tf.tidy(() => run(tf.tensor4d(batch(seed).xs, [BATCH, inputSize, inputSize, 3])));
  const values = Float32Array.from(await result.data());
  result.dispose();
  return values;
}

async function gradients(backend: BackendName): Promise<Map<string, Float32Array>> {
  await selectBackend({ backend });
  using model = ConvNet.create(CONFIG, 3);
  const { xs, ys } = batch(1);
  const { inputSize, classes } = CONFIG;
  const { value, grads } = tf.variableGrads(
    () =>
      tf.tidy(() =>
        loss(
          model.apply(tf.tensor4d(xs, [BATCH, inputSize, inputSize, 3]), { training: true }),
          tf.tensor2d(ys, [BATCH, classes]),
        ),
      ),
    model.trainable as tf.Variable[],
  );
  value.dispose();
  const copies = new Map<string, Float32Array>();
  for (const [name, gradient] of Object.entries(grads)) {
    copies.set(name.replace(/^[^/]*\//, ''), Float32Array.from(await gradient.data()));
    gradient.dispose();
  }
  return copies;
}

async function fiftyLosses(backend: BackendName): Promise<Float32Array> {
  await selectBackend({ backend });
  using model = ConvNet.create(CONFIG, 3);
  using optimizer = new AdamW(model.trainable, { learningRate: 0.003 });
  const losses = new Float32Array(50);
  for (let step = 0; step < losses.length; step++) {
    losses[step] = await trainStep(model, batch(step % 2), optimizer, loss);
  }
  return losses;
}

/** Norm of the difference over the norm of what is expected. */
function relativeError(actual: Float32Array | undefined, expected: Float32Array): number {
  if (actual?.length !== expected.length) return Number.NaN;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / Math.max(norm, 1e-12));
}
