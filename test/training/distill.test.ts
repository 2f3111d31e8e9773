import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { retemper } from '#src/labels/temperature.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet, type ConvNetConfig } from '#src/nn/convnet.js';
import type { Network } from '#src/nn/network.js';
import { type StudentOptions, trainStudent } from '#src/training/distill.js';
import { evaluateTop1 } from '#src/training/evaluate.js';
import type { Batch } from '#src/training/train.js';

const CONFIG: ConvNetConfig = { inputSize: 8, widths: [6], blocks: [0], classes: 4 };
const PIXELS = 8 * 8 * 3;
const TAU = 2;

/** An image with noise and the colour of its class: red, green, blue or black. */
function image(own: number, random: () => number): Float32Array {
  return Float32Array.from(
    { length: PIXELS },
    (_, at) => (at % 3 === own ? 2 : 0) + random() - 0.5,
  );
}

function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

async function* softBatches(count: number): AsyncGenerator<Batch> {
  const random = generator(1);
  for (let step = 0; step < count; step++) {
    const xs = new Float32Array(16 * PIXELS);
    const ys = new Float32Array(16 * 4);
    for (let i = 0; i < 16; i++) {
      const own = Math.floor(random() * 4);
      xs.set(image(own, random), i * PIXELS);
      const scores = [0, 1, 2, 3].map((c) => Math.exp((c === own ? 4 : 0) / TAU));
      const total = scores.reduce((sum, score) => sum + score, 0);
      scores.forEach((score, c) => {
        ys[i * 4 + c] = score / total;
      });
    }
    yield { xs, ys };
  }
}

function train(network: Network): Promise<Float32Array> {
  return trainStudent({
    network,
    batches: softBatches(60),
    steps: 60,
    lr: 0.02,
    warmup: 5,
    tau: TAU,
  });
}

describe('trainStudent', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'wasm' });
  });

  it('learns classes from soft labels alone, and nothing is left but the model', async () => {
    const before = tf.memory().numTensors;
    const model = ConvNet.create(CONFIG, 1);
    const losses = await train(model);
    expect(losses).toHaveLength(60);
    expect(losses[59]).toBeLessThan(losses[0] / 5);
    const random = generator(99);
    const xs = new Float32Array(200 * PIXELS);
    const classes = Uint16Array.from({ length: 200 }, (_, i) => i % 4);
    classes.forEach((own, i) => {
      xs.set(image(own, random), i * PIXELS);
    });
    expect(await evaluateTop1(model, { xs, classes })).toBeGreaterThan(0.9);
    const wrong = classes.map((own) => (own + 1) % 4);
    expect(await evaluateTop1(model, { xs, classes: wrong })).toBeLessThan(0.1);
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('leaves nothing but the model when training fails', async () => {
    using network = ConvNet.create(CONFIG, 1);
    const before = tf.memory().numTensors;
    const failing = trainStudent({
      network,
      batches: softBatches(3),
      steps: 4,
      lr: 0.01,
      tau: TAU,
    });
    await expect(failing).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('temperatures of a student', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'wasm' });
  });

  /** Two epochs of four batches. */
  async function* epochs(change: (ys: Float32Array, epoch: number) => void = () => undefined) {
    let step = 0;
    for await (const batch of softBatches(8)) {
      const epoch = Math.floor(step++ / 4);
      change(batch.ys, epoch);
      yield { ...batch, epoch };
    }
  }

  async function losses(
    change: Partial<StudentOptions>,
    batches = epochs(),
  ): Promise<readonly number[]> {
    using network = ConvNet.create(CONFIG, 3);
    const common = { network, steps: 8, lr: 0.02, tau: TAU };
    return [...(await trainStudent({ ...common, batches, ...change }))];
  }

  it('labels of a schedule train as labels made at its temperature do', async () => {
    const made = epochs((ys) => retemper(ys, 4, TAU, 1.5));
    const expected = await losses({ tau: 1.5 }, made);
    expect(await losses({ temperature: () => 1.5 })).toEqual(expected);
    expect(await losses({ temperature: () => TAU })).toEqual(await losses({}));
  });

  it('a schedule goes by the epochs of the batches', async () => {
    const plain = await losses({});
    const decayed = await losses({ temperature: (epoch) => TAU * 0.5 ** epoch });
    expect(decayed.slice(0, 4)).toEqual(plain.slice(0, 4));
    for (let step = 4; step < 8; step++) expect(decayed[step]).not.toBe(plain[step]);
  });

  it('a fitted temperature changes the epochs after the first', async () => {
    const plain = await losses({});
    const fitted = await losses({ studentTemperature: 'fitted' });
    expect(fitted.slice(0, 4)).toEqual(plain.slice(0, 4));
    // A student of four steps has small logits: a lower temperature brings it nearer to its labels.
    expect(fitted[4]).toBeLessThan(plain[4]);
  });
});

describe('evaluateTop1', () => {
  it('refuses images that do not match their classes', async () => {
    using model = ConvNet.create(CONFIG, 1);
    const classes = new Uint16Array(2);
    await expect(
      evaluateTop1(model, { xs: new Float32Array(PIXELS), classes }),
    ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
