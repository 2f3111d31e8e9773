// Labels less what fidelity/predictor.py predicts of them.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Augmenter } from '#src/augment/augmenter.js';
import { principalComponents } from '#src/codecs/math/eigen.js';
import { projected } from '#src/codecs/transform/drawn-labels.js';
import { centreLogits } from '#src/codecs/transform/project.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { boundSource } from '#src/pipeline/bound-source.js';

const COMPONENTS = 128;

/**
 * The source of the rest, `add`, which puts the predictions of an epoch back into decoded probabilities, and the bytes of the
 * predictor. Predictions are made once and kept in `dir`.
 */
export async function withPredictions(
  labels,
  { augmentation, kernels, learnt, side, tau, dir, python },
) {
  const { epochs, samples, classes } = labels;
  const file = (name) => path.join(dir, name);
  const components = await componentsOf(labels, learnt, tau, kernels);
  if (!existsSync(file('predictor.json'))) {
    const latents = new Float32Array(epochs * samples * COMPONENTS);
    for (let epoch = 0; epoch < epochs; epoch++) {
      const centred = centreLogits(await labels.read(epoch, 0, samples), classes, tau, kernels);
      latents.set(
        await projected(centred, components, classes, kernels, 1),
        epoch * samples * COMPONENTS,
      );
    }
    await writeFile(file('latents.f32'), latents);
    await writeFile(file('views.f32'), viewsOf(augmentation, labels, side));
    const script = fileURLToPath(new URL('predictor.py', import.meta.url));
    const sizes = [samples, epochs, learnt, side, COMPONENTS].map(String);
    execFileSync(python, [script, dir, ...sizes], { stdio: 'inherit' });
  }
  const bytes = await readFile(file('predictions.f32'));
  const latents = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const predictions = (epoch, start, count) => {
    const first = (epoch * samples + start) * COMPONENTS;
    const a = latents.slice(first, first + count * COMPONENTS);
    const out = new Float32Array(count * classes);
    kernels.project({ a, b: components, out, rows: count, inner: COMPONENTS, columns: classes });
    return out;
  };
  const rest = {
    ...boundSource(labels),
    async read(epoch, start, count) {
      const centred = centreLogits(await labels.read(epoch, start, count), classes, tau, kernels);
      const predicted = predictions(epoch, start, count);
      return centred.map((value, i) => value - predicted[i]);
    },
  };
  delete rest.readEach;
  return {
    labels: rest,
    bytes: JSON.parse(await readFile(file('predictor.json'), 'utf8')),
    add(probabilities, epoch) {
      const predicted = predictions(epoch, 0, samples);
      const logits = predicted.map((value, i) => value + tau * Math.log(probabilities[i]));
      softmaxRows(logits, samples, classes, tau, probabilities);
    },
  };
}

/** Principal components of the epochs that are learnt from, [COMPONENTS, classes]. */
async function componentsOf(labels, learnt, tau, kernels) {
  const { samples, classes } = labels;
  const covariance = new Float32Array(classes * classes);
  const shape = { rows: classes, inner: samples, columns: classes, transposeA: true };
  for (let epoch = 0; epoch < learnt; epoch++) {
    const centred = centreLogits(await labels.read(epoch, 0, samples), classes, tau, kernels);
    kernels.project({ a: centred, b: centred, out: covariance, ...shape, accumulate: true });
  }
  const random = new RandomSequence(0, STREAM.codec);
  const found = await principalComponents(covariance, classes, COMPONENTS + 16, kernels, random);
  return found.components.slice(0, COMPONENTS * classes);
}

/** [epochs, samples, 11], the fields of predictor.py. */
function viewsOf(augmentation, { epochs, samples }, side) {
  const augmenter = new Augmenter(augmentation, { count: samples, sizeOf: () => [side, side] });
  const views = new Float32Array(epochs * samples * 11);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const all = augmenter.batch(epoch, { start: 0, count: samples });
    for (let i = 0; i < samples; i++) {
      const at = (epoch * samples + i) * 11;
      views.set(all.crop.subarray(4 * i, 4 * i + 4), at);
      views.set([all.flip[i], all.partner[i], all.lambda[i]], at + 4);
      views.set(all.box.subarray(4 * i, 4 * i + 4), at + 7);
    }
  }
  return views;
}
