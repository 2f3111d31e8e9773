// A student on soft labels, its images read and augmented by softpack: `diff` this file and `before.mjs`.
//
//   node examples/swap/after.mjs <images> <archive>
import * as tf from '@tensorflow/tfjs';
import { createLoader, openArchive, openImagesOf } from 'softpack';
import { kdLoss, selectBackend } from 'softpack/nn';
import { createStudent, normalisation } from '../student.mjs';

const [root, labels] = process.argv.slice(2);
const [size, batchSize, epochs] = [[16, 16], 16, 6];
await selectBackend();

const archive = await openArchive(labels);
const images = await openImagesOf(archive, root);
const { classes } = archive;
const loader = createLoader({ archive, images, normalisation, batchSize, workers: 2 });
const dataset = loader.asTfDataset(tf);

const model = createStudent(size, classes);
model.compile({
  optimizer: tf.train.adam(0.01),
  loss: (labels, logits) => kdLoss(logits, labels, archive.manifest.tau),
});
const { history } = await model.fitDataset(dataset, { epochs, verbose: 0 });
console.log(`loss ${history.loss.map((value) => value.toFixed(3)).join(' ')}`);
await loader.close();
