import * as tf from '@tensorflow/tfjs';
import { loadBuiltTensorflow } from '../backend/native-tensorflow.js';
import { labelOperations, type OperationsState } from '../backend/operations.js';
import { selectBackend } from '../backend/select.js';
import { ConvNet } from '../convnet.js';

/** Answers its parent with this: what the installation is, or what is wrong with it. */
export type VerifyMessage =
  | {
      readonly version: string;
      readonly devices: readonly string[];
      readonly operations: OperationsState;
    }
  | { readonly problem: string };

const SIZE = 96;

async function verify(dir: string): Promise<VerifyMessage> {
  const native = await loadBuiltTensorflow(dir);
  if (native.state !== 'ready') return { problem: native.reason };
  if (tf.getBackend() !== 'tensorflow') return { problem: `the backend is ${tf.getBackend()}` };
  const operations = labelOperations();
  const worst = await productError();
  // Float32 sums of 96 products below 1; TF32 on a GPU keeps 10 bits.
  if (!(worst < 1e-2)) return { problem: `a matrix product is wrong by ${worst}` };
  const loss = await stepLoss();
  await selectBackend({ backend: 'cpu' });
  const expected = await stepLoss();
  if (!(Math.abs(loss - expected) < 1e-2 * expected)) {
    return { problem: `a training step has loss ${loss}, not ${expected}` };
  }
  return { version: native.version, devices: native.devices, operations };
}

/** Largest difference of a product to one summed in float64 here. */
async function productError(): Promise<number> {
  const a = Float32Array.from({ length: SIZE * SIZE }, (_, i) => Math.sin(i));
  const b = Float32Array.from({ length: SIZE * SIZE }, (_, i) => Math.cos(3 * i));
  const product = tf.tidy(() =>
    tf.matMul(tf.tensor2d(a, [SIZE, SIZE]), tf.tensor2d(b, [SIZE, SIZE])),
  );
  const values = await product.data();
  product.dispose();
  let worst = 0;
  for (let i = 0; i < SIZE * SIZE; i++) {
    const row = Math.floor(i / SIZE) * SIZE;
    let sum = 0;
    for (let k = 0; k < SIZE; k++) sum += a[row + k] * b[k * SIZE + (i % SIZE)];
    worst = Math.max(worst, Math.abs(values[i] - sum));
  }
  return worst;
}

/** Loss of a small network after one step of training: convolutions, batch norm, their gradients and an optimiser. */
async function stepLoss(): Promise<number> {
  using model = ConvNet.create({ inputSize: 8, widths: [4, 8], blocks: [0, 1], classes: 5 }, 1);
  const optimizer = tf.train.adam(0.01);
  const images = Float32Array.from({ length: 4 * 8 * 8 * 3 }, (_, i) => Math.sin(i));
  const labels = Float32Array.from({ length: 4 * 5 }, (_, i) => (i % 6 === 0 ? 1 : 0));
  const step = () =>
    tf.tidy(() => {
      const xs = tf.tensor4d(images, [4, 8, 8, 3]);
      const ys = tf.tensor2d(labels, [4, 5]);
      const loss = () =>
        tf.losses.softmaxCrossEntropy(ys, model.apply(xs, { training: true })) as tf.Scalar;
      return optimizer.minimize(loss, true, [...model.trainable]) as tf.Scalar;
    });
  step().dispose();
  const loss = step();
  const [value] = await loss.data();
  loss.dispose();
  optimizer.dispose();
  return value;
}

verify(process.argv[2]).then(
  (message) => process.send?.(message, () => process.disconnect()),
  (error) => process.send?.({ problem: String(error) }, () => process.disconnect()),
);
