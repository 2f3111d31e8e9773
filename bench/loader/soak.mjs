// Memory and tensors over many epochs of `fitDataset`, with workers, files decoded again in every epoch.
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { createLoader, imageFolder } from 'softpack';
import { kdLoss, selectBackend } from 'softpack/nn';
import { writeLabels, writePhotographs } from './data.mjs';

export async function soak(work, epochs) {
  const { name } = await selectBackend({ backend: 'wasm' });
  const samples = 256;
  const folder = join(work, 'soak');
  await writePhotographs(folder, samples, 64);
  const images = await imageFolder(folder);
  const mix = { kind: 'cutmix', alpha: 1, probability: 0.5 };
  const archive = await writeLabels(join(work, 'soak-labels'), samples, 32, mix);
  const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
  const model = tf.sequential({
    layers: [
      tf.layers.averagePooling2d({ poolSize: 4, inputShape: [32, 32, 3] }),
      tf.layers.flatten(),
      tf.layers.dense({ units: archive.classes }),
    ],
  });
  model.compile({ optimizer: 'sgd', loss: (y, z) => kdLoss(z, y, archive.manifest.tau) });
  const loader = createLoader({ archive, images, normalisation, batchSize: 32, workers: 2 });
  const dataset = loader.asTfDataset(tf);
  const marks = [];
  for (let epoch = 1; epoch <= epochs; epoch++) {
    if (loader.state().epoch === archive.epochs) loader.seek(0);
    await model.fitDataset(dataset, { epochs: 1, verbose: 0 });
    if (epoch % 10 === 0 || epoch === 5) {
      marks.push({
        epoch,
        rssMB: process.memoryUsage().rss / 1e6,
        tensors: tf.memory().numTensors,
      });
    }
  }
  console.log(`${epochs} epochs of ${samples} JPEGs by fitDataset on ${name}, 2 workers\n`);
  console.log('| epoch | RSS, MB | tensors |\n| --- | --- | --- |');
  for (const { epoch, rssMB, tensors } of marks) {
    console.log(`| ${epoch} | ${rssMB.toFixed(0)} | ${tensors} |`);
  }
  await loader.close();
  await archive.close();
  model.dispose();
  return { backend: name, marks };
}
