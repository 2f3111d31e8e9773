// Labels that native TensorFlow decodes into its own memory (operations of `softpack tensorflow install`) against the
// path through JavaScript's memory, and against kdLoss of decoded labels; then the share that either has of a student's
// step. Variants take turns, round by round; milliseconds of the processor, all threads, median (least to most).
// Run: node bench/tensorflow-labels.mjs [rounds]; needs `softpack tensorflow install`.
import os from 'node:os';
import { VqaeCodec } from '../dist/codecs/vqae/codec.js';
import { RandomSequence } from '../dist/core/random.js';
import { loadKernels } from '../dist/kernels/load.js';
import { decodeLabels, requireLabelOperations } from '../dist/nn/backend/operations.js';
import { selectBackend } from '../dist/nn/backend/select.js';
import { ConvNet } from '../dist/nn/convnet.js';
import { kdLoss } from '../dist/training/loss.js';
import { AdamW } from '../dist/training/optimiser.js';
import { PackedLoss } from '../dist/training/packed-loss.js';
import { trainStep } from '../dist/training/train.js';
import { median } from './kernels/statistics.mjs';

const rounds = Number(process.argv[2] ?? 15);
const CLASSES = 1000;
/** The product setting of 20 indices of 10 bits. */
const config = { classes: CLASSES, dh: 100, dc: 5, k: 1024, tau: 20, eps: 1e-6 };
const BATCHES = [64, 256, 1024];
const LABELS = 4096;

const { tf } = await selectBackend({ backend: 'tensorflow' });
requireLabelOperations('bench');
const random = new RandomSequence(1, 0);
const floats = (length, size) =>
  Float32Array.from({ length }, () => size * (2 * random.uniform() - 1));
const weights = {
  decoder: floats(config.dh * CLASSES, 0.01),
  codebook: floats(config.k * config.dc, 0.1),
  bias: new Float32Array(CLASSES).fill(1 / CLASSES),
};
const codec = new VqaeCodec(config, weights, loadKernels({ backend: 'cpu' }));
const row = Uint8Array.from({ length: (LABELS * 200) / 8 }, () => random.below(256));
const labelsOf = (batch) => Uint32Array.from({ length: batch }, () => random.below(LABELS));

console.log(
  `${os.cpus()[0].model}, ${os.availableParallelism()} cores, Node ${process.version}, ` +
    `load ${os.loadavg()[0].toFixed(1)}; ${rounds} rounds, one decoding thread\n`,
);

/** Milliseconds per call of each variant, by round; the first round warms up. */
async function measure(variants) {
  const times = variants.map(() => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, variant] of variants.entries()) {
      const before = process.cpuUsage();
      await variant();
      const { user, system } = process.cpuUsage(before);
      if (round > 0) times[i].push((user + system) / 1000);
    }
  }
  return times;
}

const shown = (times) =>
  `${median(times).toFixed(2)} (${Math.min(...times).toFixed(2)} to ${Math.max(...times).toFixed(2)})`;

/** TensorFlow takes an array over at its first use. */
const use = (tensor) => tensor.slice([0, 0], [1, 1]).dispose();

console.log(
  '| labels as a tensor, batch | through JavaScript, ms | operation, ms | labels/s through JavaScript | by the operation |',
);
console.log('|---|---|---|---|---|');
for (const batch of BATCHES) {
  const labels = labelsOf(batch);
  const lend = codec.lender();
  const times = await measure([
    () =>
      tf.tidy(() => {
        const out = new Float32Array(batch * CLASSES);
        const context = { epoch: 0, samples: labels };
        codec.decode({ row, labels, context, out, threads: 1 });
        use(tf.tensor2d(out, [batch, CLASSES]));
      }),
    () => tf.tidy(() => use(decodeLabels(lend, { row, labels, threads: 1 }))),
  ]);
  const rates = times.map((each) => Math.round((1000 * batch) / median(each)));
  console.log(`| ${[batch, ...times.map(shown), ...rates].join(' | ')} |`);
}

console.log(
  '\n| loss and gradient, batch | kdLoss of decoded labels, ms | PackedLoss, ms | PackedLoss by the operation, ms |',
);
console.log('|---|---|---|---|');
for (const batch of BATCHES) {
  const labels = labelsOf(batch);
  const logits = tf.tensor2d(floats(batch * CLASSES, 5), [batch, CLASSES]);
  use(logits);
  const packed = [false, true].map(
    (device) => new PackedLoss({ codec: codec.parts(), device, threads: 1 }),
  );
  const evaluate = (loss) =>
    tf.tidy(() => {
      // As after a layer: in TensorFlow's memory.
      const { value, grad } = tf.valueAndGrad(loss)(logits.add(0));
      use(grad);
      value.dataSync();
    });
  const times = await measure([
    () =>
      evaluate((z) => {
        const out = new Float32Array(batch * CLASSES);
        const context = { epoch: 0, samples: labels };
        codec.decode({ row, labels, context, out, threads: 1 });
        return kdLoss(z, tf.tensor2d(out, [batch, CLASSES]), config.tau);
      }),
    ...packed.map((loss) => () => evaluate((z) => loss.loss(z, { row, labels }))),
  ]);
  console.log(`| ${[batch, ...times.map(shown)].join(' | ')} |`);
  for (const loss of packed) loss[Symbol.dispose]();
  logits.dispose();
}

const batch = 64;
const model = ConvNet.create(
  { inputSize: 32, classes: CLASSES, widths: [32, 64, 128], blocks: [1, 1, 1] },
  1,
);
const optimizer = new AdamW(model.trainable, { learningRate: 1e-4, weightDecay: 0 });
const xs = floats(batch * 32 * 32 * 3, 1);
const labels = labelsOf(batch);
const steps = [false, true].map((device) => {
  const loss = new PackedLoss({ codec: codec.parts(), device, threads: 1 });
  return async () => {
    const images = { xs: xs.slice(), xsShape: [batch, 32, 32, 3] };
    await trainStep(
      model,
      { ...images, ys: new Float32Array(batch * CLASSES), ysShape: [batch, CLASSES] },
      optimizer,
      (logits) => loss.loss(logits, { row, labels }),
    );
  };
});
const times = await measure(steps);
console.log(
  `\na step of a 32-64-128 student at 32 pixels, batch ${batch}: PackedLoss ${shown(times[0])} ms, ` +
    `by the operation ${shown(times[1])} ms`,
);
