// Students of an ImageNet teacher, from archives of its labels: how often they agree with it on collages they have not seen.
//   node bench/collage-students.mjs [--dir DIR] [--collages 2000] [--epochs 24] [--held-out 500] [--seeds 3]
//     [--ratios 40,200,400,1000] [--json FILE]
//
// Teacher, collages and labels are those of fidelity.mjs, which shares DIR. Every archive is counted in total bytes and made by
// the library's defaults, number of stored epochs included. Students are small networks on the views at 28 x 28 pixels, each
// the mean of 8 x 8 of the teacher's, and learn at LPQLD's temperatures. Archives, views and students are kept in DIR: a run
// that was stopped goes on, and one with more seeds adds to it.
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews, renderWhole } from '#src/augment/replay.js';
import { CODECS } from '#src/codecs/registry.js';
import { memoryImages } from '#src/images/memory.js';
import { loadKernels } from '#src/kernels/load.js';
import { argMax } from '#src/labels/arg-max.js';
import { temperatureDecay } from '#src/labels/temperature.js';
import { createLoader } from '#src/loader/loader.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { openPackSource } from '#src/pipeline/pack-source.js';
import { trainStudent } from '#src/training/distill.js';
import { evaluateTop1 } from '#src/training/evaluate.js';
import { makeHeldOutLabels, makeLabels, SIDE, TAU } from './fidelity/labels.mjs';

const { values: flags } = parseArgs({
  options: {
    dir: { type: 'string', default: 'softpack-fidelity' },
    collages: { type: 'string', default: '2000' },
    epochs: { type: 'string', default: '24' },
    'held-out': { type: 'string', default: '500' },
    seeds: { type: 'string', default: '3' },
    ratios: { type: 'string', default: '40,200,400,1000' },
    json: { type: 'string' },
  },
});
const [collages, epochs, heldOut, seeds] = ['collages', 'epochs', 'held-out', 'seeds'].map((name) =>
  Number(flags[name]),
);
const ratios = flags.ratios.split(',').map(Number);
/** Side of the students' images, and pixels of the teacher's for each of theirs. */
const STUDENT_SIDE = 28;
const POOLED = SIDE / STUDENT_SIDE;
const STUDENT = { inputSize: STUDENT_SIDE, widths: [32, 64, 128], blocks: [0, 0, 0] };
const TRAINING = { lr: 0.02, warmup: 50, weightDecay: 0.05 };
const BATCH = 64;
/** Temperatures of a training, about as many as in LPQLD's 300 epochs. */
const DECAYS = 10;
/** Views are of [0, 1], less the middle. */
const NORMALISATION = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
const VALUES = STUDENT_SIDE * STUDENT_SIDE * 3;
/** Views rendered at a time. */
const CHUNK = 100;

const kernels = loadKernels();
const python = process.env.SOFTPACK_PYTHON ?? 'python3';
const work = path.join(flags.dir, 'students');
await mkdir(work, { recursive: true });
const { name: backend } = await selectBackend({ backend: 'auto' });
const labels = await makeLabels({ dir: flags.dir, python, collages, epochs });
const test = await heldOutImages();
const views = await viewsOf();
const stored = [undefined, ...ratios];
const rows = [];
for (const ratio of stored)
  rows.push({ ratio: ratio ?? 1, ...(await archiveOf(ratio)), found: [] });
// All archives with one seed, then with the next: a run may be stopped at any time.
for (let seed = 0; seed < seeds; seed++) {
  for (const row of rows) row.found.push(await agreement(row, seed));
}
report();

/** The archive of a ratio, its codec, its bytes and the epochs that it stores; without one that of the full labels. */
async function archiveOf(ratio) {
  if (ratio === undefined) return { archive: labels, kept: epochs };
  const archive = path.join(work, nameOf(ratio));
  const file = `${archive}.json`;
  if (existsSync(file)) return { archive, ...JSON.parse(await readFile(file, 'utf8')) };
  const { bytes, divergence, storedEpochs, codec } = await packLogits({
    ...{ source: labels, out: archive, keep: 'auto', acceptFinished: true },
    codec: { name: 'transform', totalRatio: ratio },
  });
  const found = { kept: storedEpochs, bytes, kl: divergence.kl, nmse: divergence.nmse, codec };
  await writeFile(file, JSON.stringify(found));
  console.error(`${ratio}x: ${bytes.total} bytes, ${storedEpochs} epochs`);
  return { archive, ...found };
}

/** Of an archive of the codec as it is now: those of earlier ones in DIR are left alone. */
function nameOf(ratio) {
  return ratio === 1 ? '1x' : `${ratio}x-${CODECS.of({ name: 'transform' }).revision}`;
}

/** Share of the held-out collages to which a student gives the teacher's class. */
async function agreement({ archive: folder, ratio, kept }, seed) {
  const file = path.join(work, `student-${nameOf(ratio)}-${seed}.json`);
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')).agreement;
  const start = performance.now();
  const found = await trained(folder, kept, seed);
  const seconds = Math.round((performance.now() - start) / 1000);
  await writeFile(file, JSON.stringify({ agreement: found, seconds }));
  console.error(`${ratio}x, seed ${seed}: ${(100 * found).toFixed(1)} % (${seconds} s)`);
  return found;
}

async function trained(folder, kept, seed) {
  const archive = await openArchive(folder);
  const loader = createLoader({ archive, batchSize: BATCH, seed, dropLast: true });
  const network = ConvNet.create({ ...STUDENT, classes: archive.classes }, seed);
  const steps = epochs * Math.floor(collages / BATCH);
  const warmup = Math.min(TRAINING.warmup, Math.floor(steps / 10));
  try {
    await trainStudent({
      ...{ network, steps, tau: TAU, ...TRAINING, warmup, batches: withViews(loader, kept) },
      temperature: temperatureDecay({ start: TAU, every: Math.ceil(epochs / DECAYS) }),
      studentTemperature: 'fitted',
    });
    return await evaluateTop1(network, test);
  } finally {
    network.dispose();
    await loader.close();
    await archive.close();
  }
}

/** Batches of labels with the views that they belong to. */
async function* withViews(loader, kept) {
  for await (const batch of loader) {
    const xs = new Float32Array(batch.sampleIds.length * VALUES);
    for (const [i, sample] of batch.sampleIds.entries()) {
      const at = ((batch.epoch % kept) * collages + sample) * VALUES;
      for (let j = 0; j < VALUES; j++) xs[i * VALUES + j] = normalised(views[at + j]);
    }
    yield { ...batch, xs };
  }
}

/** Pixels [epochs, collages, side, side, 3] of all views, at the students' size: made once. */
async function viewsOf() {
  const source = await openPackSource(labels, kernels, {});
  const { augmentation } = source.origin;
  const { samples, epochs: made } = source.labels;
  await source[Symbol.asyncDispose]();
  if (samples !== collages || made !== epochs) {
    throw new Error(`${flags.dir} has labels of ${samples} collages and ${made} epochs`);
  }
  const file = path.join(work, 'views.u8');
  if (existsSync(file)) return new Uint8Array(await readFile(file));
  const images = await imagesIn('images');
  const augmenter = new Augmenter(augmentation, images);
  const all = new Uint8Array(epochs * collages * VALUES);
  const pixels = new Float32Array(CHUNK * SIDE * SIDE * 3);
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (let start = 0; start < collages; start += CHUNK) {
      const count = Math.min(CHUNK, collages - start);
      const out = pixels.subarray(0, count * SIDE * SIDE * 3);
      renderViews(augmenter, images, epoch, { start, count }, NORMALISATION, out, { kernels });
      all.set(pooled(out), (epoch * collages + start) * VALUES);
    }
    console.error(`views of epoch ${epoch + 1} of ${epochs}`);
  }
  await writeFile(`${file}.partial`, all);
  await rename(`${file}.partial`, file);
  return all;
}

/** The held-out collages, whole, and the teacher's class of each. */
async function heldOutImages() {
  const folder = await makeHeldOutLabels({ dir: flags.dir, python, collages: heldOut });
  const source = await openPackSource(folder, kernels, {});
  const logits = await source.labels.read(0, 0, heldOut);
  const { classes: width } = source.labels;
  await source[Symbol.asyncDispose]();
  const classes = Uint16Array.from({ length: heldOut }, (_, i) =>
    argMax(logits.subarray(i * width, (i + 1) * width)),
  );
  const images = await imagesIn('held-out');
  const out = new Float32Array(heldOut * SIDE * SIDE * 3);
  const all = { start: 0, count: heldOut };
  renderWhole(images, all, [SIDE, SIDE], NORMALISATION, out, { kernels });
  return { xs: Float32Array.from(pooled(out), normalised), classes };
}

async function imagesIn(folder) {
  const from = path.join(flags.dir, folder);
  const names = (await readdir(from)).filter((name) => name.endsWith('.png')).sort();
  const data = new Uint8Array(names.length * SIDE * SIDE * 3);
  for (const [i, name] of names.entries()) {
    data.set(
      await sharp(path.join(from, name)).removeAlpha().raw().toBuffer(),
      i * SIDE * SIDE * 3,
    );
  }
  return memoryImages(data, SIDE, SIDE);
}

/** Means of squares of normalised pixels, as bytes. */
function pooled(values) {
  const count = values.length / (SIDE * SIDE * 3);
  const sums = new Float32Array(count * VALUES);
  for (let row = 0; row < count * SIDE; row++) {
    const to = Math.floor(row / POOLED) * STUDENT_SIDE;
    for (let x = 0; x < SIDE; x++) {
      const at = 3 * (to + Math.floor(x / POOLED));
      for (let c = 0; c < 3; c++) sums[at + c] += values[3 * (row * SIDE + x) + c];
    }
  }
  const { mean, std } = NORMALISATION;
  return Uint8Array.from(sums, (sum) => 255 * (mean[0] + (std[0] * sum) / POOLED ** 2) + 0.5);
}

function normalised(value) {
  return (value / 255 - NORMALISATION.mean[0]) / NORMALISATION.std[0];
}

function report() {
  const machine = `${os.cpus()[0].model}, ${kernels.isa}, node ${process.version}, TensorFlow.js on ${backend}`;
  console.log(`${machine}\n`);
  console.log(
    `${collages} collages, ${epochs} epochs, ${seeds} students a row, ${heldOut} held-out collages.\n`,
  );
  console.log(
    '| archive | epochs kept | bytes | KL, nats | nmse | agreement with the teacher, % |',
  );
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const { ratio, kept, bytes, kl, nmse, found } of rows) {
    const mean = found.reduce((sum, value) => sum + value, 0) / found.length;
    const squares = found.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const spread =
      found.length > 1 ? ` ± ${(100 * Math.sqrt(squares / (found.length - 1))).toFixed(1)}` : '';
    const name = ratio === 1 ? 'full labels' : `${ratio}x`;
    const error =
      ratio === 1 ? '- | - | -' : `${bytes.total} | ${kl.toExponential(2)} | ${nmse.toFixed(3)}`;
    console.log(`| ${name} | ${kept} | ${error} | ${(100 * mean).toFixed(1)}${spread} |`);
  }
}

if (flags.json !== undefined) {
  const shape = { collages, epochs, heldOut, seeds, tau: TAU };
  const measured = rows.map(({ archive: _, ...row }) => row);
  const record = { machine: { processor: os.cpus()[0].model, backend }, shape, rows: measured };
  await writeFile(flags.json, `${JSON.stringify(record, null, 2)}\n`);
}
