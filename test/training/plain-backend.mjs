// One way to train in plain JavaScript. The argument names the way.
import { parentPort, workerData } from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs';
import { tfDatasetOf } from '#src/loader/tf-dataset.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { kdLoss } from '#src/training/loss.js';
import { PackedLoss } from '#src/training/packed-loss.js';
import { tokenLoss } from '#src/training/token-loss.js';
import { trainStep } from '#src/training/train.js';

const labels = [0.25, 0.75];
const network = { inputSize: 1, classes: 2, trainable: [], apply: () => tf.tensor2d([[1, 2]]) };
const batch = { xs: new Float32Array(3), ys: Float32Array.from(labels) };
const loader = {
  epochs: { from: 0, to: 1 },
  batchesPerEpoch: 1,
  seek() {},
  async *epoch() {
    yield { ...batch, xsShape: [1, 1, 1, 3], ysShape: [1, 2], release() {} };
  },
};

const ways = {
  selectBackend: () => selectBackend({ backend: 'cpu' }),
  kdLoss: () => kdLoss(tf.tensor2d([[1, 2]]), tf.tensor2d([labels]), 1),
  // These end with errors of their own arguments, after the warning.
  PackedLoss: () => PackedLoss.prototype.loss.call({}, tf.tensor2d([[1, 2]]), {}),
  tokenLoss: () => tokenLoss(tf.tensor2d([[1, 2]]), {}),
  trainStep: () => trainStep(network, batch, {}, () => tf.scalar(0)),
  asTfDataset: async () => (await tfDatasetOf(tf, loader, {}).iterator()).next(),
};

if (workerData !== 'selectBackend') await tf.setBackend('cpu');
const warnings = [];
process.on('warning', ({ code, message }) => warnings.push({ code, message }));
for (let i = 0; i < 2; i++) await (async () => ways[workerData]())().catch(() => undefined);
// Warnings are events of the next tick.
setImmediate(() => parentPort.postMessage({ backend: tf.getBackend(), warnings }));
