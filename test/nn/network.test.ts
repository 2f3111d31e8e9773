import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, it } from 'vitest';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { inputGradient, type Network, type Parameter, predict } from '#src/nn/network.js';
import { trainStudent } from '#src/training/distill.js';
import { evaluateTop1 } from '#src/training/evaluate.js';

beforeAll(async () => {
  await selectBackend({ backend: 'wasm' });
});

/** A linear classifier: all that another kind of student has to provide. */
class LinearNetwork implements Network {
  readonly inputSize = 4;
  readonly classes = 3;
  readonly trainable: readonly tf.Variable[];
  readonly #weights = tf.variable(tf.zeros([48, 3]));
  readonly #bias = tf.variable(tf.zeros([3]));

  constructor() {
    this.trainable = [this.#weights, this.#bias];
  }

  apply(images: tf.Tensor4D): tf.Tensor2D {
    const rows = tf.reshape(images, [-1, 48]) as tf.Tensor2D;
    return tf.matMul(rows, this.#weights as unknown as tf.Tensor2D).add(this.#bias);
  }

  async parameters(): Promise<ReadonlyMap<string, Parameter>> {
    const values = Float32Array.from(await this.#bias.data());
    return new Map([['bias', { shape: [3], values }]]);
  }

  dispose(): void {
    for (const variable of this.trainable) variable.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Images whose brightest channel is their class. */
function coloured(count: number): { xs: Float32Array; ys: Float32Array; classes: Uint16Array } {
  const classes = Uint16Array.from({ length: count }, (_, i) => (i * 7) % 3);
  const xs = Float32Array.from({ length: count * 48 }, (_, i) =>
    i % 3 === classes[Math.floor(i / 48)] ? 1 : 0.1 * Math.sin(i),
  );
  const ys = new Float32Array(count * 3).fill(0.05);
  for (const [i, c] of classes.entries()) ys[3 * i + c] = 0.9;
  return { xs, ys, classes };
}

it('trains and evaluates any network', async () => {
  using network = new LinearNetwork();
  const { xs, ys, classes } = coloured(12);
  async function* batches() {
    for (;;) yield { xs, ys };
  }
  expect(await evaluateTop1(network, { xs, classes })).toBeLessThan(0.5);
  const losses = await trainStudent({ network, batches: batches(), steps: 40, lr: 0.05, tau: 1 });
  expect(losses[39]).toBeLessThan(losses[0] / 4);
  expect(await evaluateTop1(network, { xs, classes })).toBe(1);
});

it("gives a loss's gradient with respect to the images, as finite differences do", async () => {
  const config = { inputSize: 8, widths: [4], blocks: [1], classes: 3 };
  using network = ConvNet.create(config, 2);
  const images = Float32Array.from({ length: 192 }, (_, i) => Math.sin(3 * i));
  const loss = (logits: tf.Tensor2D) => logits.square().sum() as tf.Scalar;
  const before = tf.memory().numTensors;
  const { value, gradient } = tf.tidy(() =>
    inputGradient(network, tf.tensor4d(images, [1, 8, 8, 3]), loss),
  );
  const found = Float32Array.from(await gradient.data());
  const at = async (pixels: Float32Array) =>
    (await predict(network, pixels)).reduce((sum, logit) => sum + logit ** 2, 0);
  expect((await value.data())[0]).toBeCloseTo(await at(images), 4);
  tf.dispose([value, gradient]);
  expect(tf.memory().numTensors).toBe(before);
  const largest = Math.max(...found.map(Math.abs));
  expect(largest).toBeGreaterThan(1e-4);
  for (const i of [0, 17, 95, 191]) {
    const step = 1e-2;
    const moved = (by: number) => images.map((pixel, j) => (j === i ? pixel + by : pixel));
    const difference = ((await at(moved(step))) - (await at(moved(-step)))) / (2 * step);
    expect(Math.abs(found[i] - difference)).toBeLessThan(0.02 * largest);
  }
});

it('shows the input of every batch norm', () => {
  using network = ConvNet.create({ inputSize: 8, widths: [4, 6], blocks: [1, 0], classes: 3 }, 2);
  const seen = new Map<string, readonly number[]>();
  tf.tidy(() =>
    network.apply(tf.ones([2, 8, 8, 3]), { tap: (name, input) => seen.set(name, input.shape) }),
  );
  expect([...seen]).toEqual([
    ['stage0', [2, 4, 4, 4]],
    ['stage0.block0.a', [2, 4, 4, 4]],
    ['stage0.block0.b', [2, 4, 4, 4]],
    ['stage1', [2, 2, 2, 6]],
  ]);
});
