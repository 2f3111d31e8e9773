// Trains a student with `model.fitDataset`: the loader is the data set.
//
//   node examples/fit-dataset.mjs <archive> <images>
import * as tf from '@tensorflow/tfjs';
import { createLoader, openArchive, openImagesOf } from 'softpack';
import { kdLoss, selectBackend } from 'softpack/nn';
import { createStudent, normalisation } from './student.mjs';

const [archivePath, imagesPath] = process.argv.slice(2);
if (imagesPath === undefined)
  throw new Error('usage: node examples/fit-dataset.mjs <archive> <images>');
await selectBackend();
const archive = await openArchive(archivePath);
const images = await openImagesOf(archive, imagesPath);
const { tau, augmentation } = archive.manifest;

// The last epoch's views are never trained on: they serve for validation.
const common = { archive, images, normalisation, batchSize: 16, seed: 1 };
const last = archive.epochs - 1;
const train = createLoader({ ...common, epochs: { from: 0, to: last }, workers: 2 });
const held = createLoader({ ...common, epochs: { from: last, to: archive.epochs } });

const model = createStudent(augmentation.size, archive.classes);
model.compile({
  optimizer: tf.train.adam(0.01),
  loss: (labels, logits) => kdLoss(logits, labels, tau),
  metrics: ['accuracy'],
});
await model.fitDataset(train.asTfDataset(tf), {
  epochs: last,
  validationData: held.asTfDataset(tf, { mode: 'repeat' }),
  verbose: 0,
  callbacks: {
    onEpochEnd: async (epoch, { loss, val_loss, val_acc }) => {
      const [kl, validation] = [loss, val_loss].map((value) => value.toFixed(4));
      console.log(
        `epoch ${epoch}: KL ${kl}, held out ${validation}, same class ${val_acc.toFixed(2)}`,
      );
    },
  },
});

const { imageMs, labelMs, waitMs } = train.metrics();
console.log(
  `images ${imageMs.toFixed(0)} ms, labels ${labelMs.toFixed(0)} ms, waiting ${waitMs.toFixed(0)} ms`,
);
await Promise.all([train.close(), held.close()]);
await archive.close();
