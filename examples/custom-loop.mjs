// Trains a student in a loop of its own, stops halfway, and goes on as if nothing had happened.
//
//   node examples/custom-loop.mjs <archive> <images>
import * as tf from '@tensorflow/tfjs';
import { createLoader, openArchive, openImagesOf } from 'softpack';
import { kdLoss, selectBackend } from 'softpack/nn';
import { createStudent, normalisation } from './student.mjs';

const [archivePath, imagesPath] = process.argv.slice(2);
if (imagesPath === undefined)
  throw new Error('usage: node examples/custom-loop.mjs <archive> <images>');
await selectBackend();
const archive = await openArchive(archivePath);
const images = await openImagesOf(archive, imagesPath);
const { augmentation } = archive.manifest;
const model = createStudent(augmentation.size, archive.classes);
const optimizer = tf.train.adam(0.01);

/** Trains until `steps` are done or the labels are used up; returns where to go on. */
async function train(resume, steps = Number.POSITIVE_INFINITY) {
  const options = { archive, images, normalisation, batchSize: 16, seed: 1, workers: 2, resume };
  const loader = createLoader(options);
  let step = 0;
  for await (const { epoch, index, tau, xs, xsShape, ys, ysShape } of loader) {
    const loss = tf.tidy(() => {
      const views = tf.tensor4d(xs, xsShape);
      const labels = tf.tensor2d(ys, ysShape);
      return optimizer.minimize(() => kdLoss(model.apply(views), labels, tau), true);
    });
    const [value] = await loss.data();
    loss.dispose();
    if (index === loader.batchesPerEpoch - 1) console.log(`epoch ${epoch}: KL ${value.toFixed(4)}`);
    if (++step === steps) break;
  }
  const state = loader.state();
  await loader.close();
  return state;
}

const state = await train(undefined, 10);
console.log(`stopped: ${JSON.stringify(state)}`);
// Save this state beside the model's weights; a process started later goes on with them.
await train(JSON.parse(JSON.stringify(state)));
await archive.close();
