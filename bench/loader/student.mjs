// Time that the demo's student waits for its batches: 32-pixel views of packed images, on the best available backend.
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { createLoader, imageFolder, openImages, packImages } from 'softpack';
import { AdamW, ConvNet, kdLoss, selectBackend, trainStep } from 'softpack/nn';
import { writeLabels, writePhotographs } from './data.mjs';

export async function studentWait(work, seconds) {
  const { name } = await selectBackend();
  const samples = 512;
  const folder = join(work, 'small');
  await writePhotographs(folder, samples, 40);
  await packImages({ images: await imageFolder(folder), out: join(work, 'small-raw') });
  const images = await openImages(join(work, 'small-raw'));
  const mix = { kind: 'cutmix', alpha: 1, probability: 0.5 };
  const archive = await writeLabels(join(work, 'small-labels'), samples, 32, mix);
  const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
  const { tau } = archive.manifest;
  const model = ConvNet.create(
    { inputSize: 32, classes: archive.classes, widths: [32, 64, 128], blocks: [1, 1, 1] },
    1,
  );
  const optimizer = new AdamW(model.trainable, { learningRate: 1e-3, weightDecay: 0 });
  const loss = (logits, labels) => kdLoss(logits, labels, tau);
  const options = { archive, images, normalisation, batchSize: 64, workers: 1 };
  const loader = createLoader(options);
  let start = 0;
  let before = loader.metrics();
  for (let steps = 0; start === 0 || performance.now() - start < 1000 * seconds; ) {
    if (loader.state().epoch === archive.epochs) loader.seek(0);
    for await (const batch of loader.epoch()) {
      await trainStep(model, batch, optimizer, loss);
      if (++steps === 4) [start, before] = [performance.now(), loader.metrics()];
      if (start > 0 && performance.now() - start >= 1000 * seconds) break;
    }
  }
  const elapsed = performance.now() - start;
  const after = loader.metrics();
  const waitShare = (after.waitMs - before.waitMs) / elapsed;
  const imagesPerSecond = (1000 * (after.samples - before.samples)) / elapsed;
  await loader.close();
  await archive.close();
  optimizer.dispose();
  model.dispose();
  console.log(
    `training 32-64-128 at 32 pixels on ${name}: ${imagesPerSecond.toFixed(0)} images/s, ` +
      `waiting ${(100 * waitShare).toFixed(2)} % of the time (tensors left: ${tf.memory().numTensors})\n`,
  );
  return { backend: name, imagesPerSecond, waitShare };
}
