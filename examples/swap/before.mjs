// A student on hard labels, its images read and augmented by a plain `tf.data` pipeline.
//
//   node examples/swap/before.mjs <images>
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import sharp from 'sharp';
import { selectBackend } from 'softpack/nn';
import { createStudent } from '../student.mjs';

const [root] = process.argv.slice(2);
const [size, batchSize, epochs] = [[16, 16], 16, 6];
await selectBackend();

async function* examples() {
  const names = (await readdir(root)).sort();
  for (const [target, name] of names.entries()) {
    for (const file of await readdir(join(root, name))) {
      const image = sharp(join(root, name, file))
        .removeAlpha()
        .flop(Math.random() < 0.5);
      const pixels = await image
        .resize(...size)
        .raw()
        .toBuffer();
      const xs = tf.tidy(() =>
        tf
          .tensor3d(new Uint8Array(pixels), [...size, 3])
          .div(127.5)
          .sub(1),
      );
      yield { xs, ys: tf.tidy(() => tf.oneHot(target, names.length).toFloat()) };
    }
  }
}
const classes = (await readdir(root)).length;
const dataset = tf.data.generator(examples).shuffle(512).batch(batchSize);

const model = createStudent(size, classes);
model.compile({
  optimizer: tf.train.adam(0.01),
  loss: (labels, logits) => tf.losses.softmaxCrossEntropy(labels, logits),
});
const { history } = await model.fitDataset(dataset, { epochs, verbose: 0 });
console.log(`loss ${history.loss.map((value) => value.toFixed(3)).join(' ')}`);
