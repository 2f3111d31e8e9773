// Trains a student on packed codes: loss and gradient come from one native call, labels are never decoded into memory.
//
//   node examples/packed-loss.mjs <archive> <images>
import * as tf from '@tensorflow/tfjs';
import { createLoader, openArchive, openImagesOf } from 'softpack';
import { PackedLoss, selectBackend } from 'softpack/nn';
import { createStudent, normalisation } from './student.mjs';

const [archivePath, imagesPath] = process.argv.slice(2);
if (imagesPath === undefined)
  throw new Error('usage: node examples/packed-loss.mjs <archive> <images>');
await selectBackend();
const archive = await openArchive(archivePath);
const images = await openImagesOf(archive, imagesPath);
const { tau, augmentation } = archive.manifest;
const model = createStudent(augmentation.size, archive.classes);
const optimizer = tf.train.adam(0.01);
const packed = new PackedLoss({ codec: archive.codecParts, tau });

const options = { archive, images, normalisation, batchSize: 16, seed: 1, labels: 'codes' };
const loader = createLoader({ ...options, workers: 2 });
for await (const { epoch, index, xs, xsShape, codes } of loader) {
  const loss = tf.tidy(() => {
    const views = tf.tensor4d(xs, xsShape);
    return optimizer.minimize(() => packed.loss(model.apply(views), codes), true);
  });
  const [value] = await loss.data();
  loss.dispose();
  if (index === loader.batchesPerEpoch - 1) console.log(`epoch ${epoch}: KL ${value.toFixed(4)}`);
}
await loader.close();
packed[Symbol.dispose]();
await archive.close();
