// Labels of the transform codec beside those of the paper's autoencoder at the same ratios of the whole archive, then labels
// per second of a core at 1,000 classes and 64 components:
//   node bench/transform.mjs [--archive FOLDER] [--keep 8] [--steps 400] [--ratios 100,200,400,1000] [--rounds 9]
// FOLDER holds uncompressed logits (`softpack cache` without a codec; those of the demo are in its workspace). Errors are
// divergences of all decoded labels from the teacher's; speeds are labels per second of processor time, medians of interleaved
// rounds, slowest to fastest, on one thread: an epoch with its blocks still to decode, and batches of labels all over it with
// blocks decoded before. `predictive` finds the crops of its views first, as the loader does.
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Augmenter } from '#src/augment/augmenter.js';
import { mixesOf } from '#src/augment/mixes.js';
import { CODECS } from '#src/codecs/registry.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { loadKernels } from '#src/kernels/load.js';
import { labelDivergence } from '#src/labels/divergence.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { packLogits } from '#src/pipeline/pack.js';

const { values } = parseArgs({
  options: {
    archive: { type: 'string' },
    keep: { type: 'string', default: '8' },
    steps: { type: 'string', default: '400' },
    ratios: { type: 'string', default: '100,200,400,1000' },
    rounds: { type: 'string', default: '9' },
  },
});
const [CLASSES, COMPONENTS, LABELS, TAU] = [1000, 64, 4096, 20];
/** Images that labels of views are of. */
const IMAGES = 1024;
const VIEWS = Augmenter.unsized(
  {
    generator: 'philox4x32-10',
    ...{ seed: 1, size: [224, 224], crop: { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] }, flip: 0.5 },
    mix: { kind: 'cutmix', alpha: 1, probability: 1 },
  },
  IMAGES,
);
/** Labels of a loader's batch. */
const BATCH = 128;
const rounds = Number(values.rounds);

async function compare(source, keep) {
  const folder = await mkdtemp(join(os.tmpdir(), 'transform-'));
  const training = { steps: Number(values.steps) };
  console.log(
    '| codec | epochs stored | ratio asked | ratio | bytes | nmse | KL, nats | same top class |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const [name, stored] of [
    ['transform', { keep }],
    ['vqae', { keep }],
    ['vqae', {}],
  ]) {
    for (const totalRatio of values.ratios.split(',').map(Number)) {
      const out = join(folder, `${name}-${stored.keep}-${totalRatio}`);
      const head = `| ${name} | ${stored.keep ?? 'all'} | ${totalRatio}`;
      try {
        const codec = { name, totalRatio };
        const own = name === 'vqae' ? { training } : {};
        const { ratio, bytes, divergence } = await packLogits({
          source,
          out,
          codec,
          ...own,
          ...stored,
        });
        const { kl, nmse, top1 } = divergence;
        const errors = `${nmse.toFixed(4)} | ${kl.toExponential(2)} | ${top1.toFixed(3)}`;
        console.log(`${head} | ${ratio.total.toFixed(1)} | ${bytes.total} | ${errors} |`);
      } catch (error) {
        if (error.code !== 'INVALID_ARGUMENT') throw error;
        console.log(`${head} | out of reach | | | | |`);
      }
    }
  }
  await rm(folder, { recursive: true });
}

/** Logits of 64 directions of falling size, and a little noise. */
function teacherLogits() {
  const random = new RandomSequence(1, STREAM.codec);
  const head = Float32Array.from({ length: COMPONENTS * CLASSES }, () => random.normal());
  const features = Float32Array.from(
    { length: LABELS * COMPONENTS },
    (_, i) => (6 * random.normal()) / (1 + (i % COMPONENTS) / 5),
  );
  const logits = Float32Array.from({ length: LABELS * CLASSES }, () => random.normal() / 20);
  const shape = { rows: LABELS, inner: COMPONENTS, columns: CLASSES };
  loadKernels().project({ a: features, b: head, out: logits, ...shape, accumulate: true });
  return logits;
}

/** A codec of these labels, and its works: each takes all labels once, on one thread. */
async function contestantOf({ precision, ...choice }, logits, labels) {
  const kernels = loadKernels();
  const all = Uint32Array.from({ length: LABELS }, (_, i) => i);
  const viewed = choice.name === 'predictive';
  const contextOf = (list) => {
    if (!viewed) return { epoch: 0, samples: list };
    const samples = list.map((i) => i % IMAGES);
    return { epoch: 0, samples, augmentation: mixesOf(VIEWS, 0, samples) };
  };
  const context = contextOf(all);
  const visit = async (show) => show(logits.slice(), context);
  const known = {
    classes: CLASSES,
    samples: viewed ? IMAGES : LABELS,
    labels: LABELS,
    tau: TAU,
    eps: 1e-6,
    kernels,
  };
  const drawing = { drawLogits: visit, scanLogits: visit, draw: async () => labels.slice() };
  const training = { steps: Number(values.steps), threads: 1 };
  const { codec } = await CODECS.train(choice, { ...known, ...drawing, training });
  const row = await codec.encode(logits, context);
  const out = new Float32Array(logits.length);
  const loaded = () => CODECS.load(codec.parts(), kernels, { precision });
  const decode = (own, list, to) =>
    own.decode({ row, labels: list, context: contextOf(list), out: to, threads: 1 });
  const kept = loaded();
  decode(kept, all, out);
  const divergence = labelDivergence(labels, out, CLASSES);
  const mixed = Uint32Array.from({ length: LABELS }, (_, i) => (2731 * i) % LABELS);
  const works = [
    async () => () => codec.encode(logits, contextOf(all), { threads: 1 }),
    // Without blocks that a codec keeps, as an epoch begins; making the codec is no part of it.
    async () => {
      const fresh = loaded();
      return () => decode(fresh, all, out);
    },
    async () => () => {
      for (let i = 0; i < LABELS; i += BATCH) {
        const part = out.subarray(i * CLASSES, (i + BATCH) * CLASSES);
        decode(kept, mixed.subarray(i, i + BATCH), part);
      }
    },
  ];
  return { bits: (8 * row.length) / LABELS, divergence, works };
}

async function rateOf(work) {
  const run = await work();
  const begin = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(begin);
  return (1e6 * LABELS) / (user + system);
}

function spread(rates) {
  const sorted = rates.toSorted((a, b) => a - b);
  const [low, middle, high] = [sorted[0], sorted[rounds >> 1], sorted[rounds - 1]].map(Math.round);
  return `${middle} (${low} to ${high})`;
}

async function speed() {
  const logits = teacherLogits();
  const labels = new Float32Array(logits.length);
  softmaxRows(logits, LABELS, CLASSES, TAU, labels);
  const form = { name: 'transform', step: 60, components: 64, bases: false };
  const contestants = new Map();
  for (const [name, choice] of [
    ['transform, 1 state', { ...form, states: 1 }],
    ['transform, 4 states', { ...form, states: 4 }],
    ['transform, 4 states, fastest', { ...form, states: 4, precision: 'fastest' }],
    ['transform, 8 states', { ...form, states: 8 }],
    ['predictive, 4 states', { ...form, name: 'predictive', states: 4, network: true }],
    ['vqae (1000, 100, 64)', { name: 'vqae', dh: 1000, dc: 100, k: 64 }],
  ]) {
    contestants.set(name, await contestantOf(choice, logits, labels));
  }
  // In turn, so that what else the machine does slows all alike.
  const rates = new Map();
  for (let round = 0; round < rounds; round++) {
    for (const [name, { works }] of contestants) {
      const own = rates.get(name) ?? works.map(() => []);
      for (const [i, work] of works.entries()) own[i].push(await rateOf(work));
      rates.set(name, own);
    }
  }
  const columns = ['encoded', 'decoded', `decoded, ${BATCH} at a time`];
  console.log(`\n| codec | bits per label | nmse | KL, nats | ${columns.join(' | ')} |`);
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const [name, { bits, divergence }] of contestants) {
    const errors = `${divergence.nmse.toFixed(4)} | ${divergence.kl.toExponential(2)}`;
    const speeds = rates.get(name).map(spread).join(' | ');
    console.log(`| ${name} | ${bits.toFixed(1)} | ${errors} | ${speeds} |`);
  }
}

console.log(`${os.cpus()[0].model}, ${loadKernels().isa}, node ${process.version}\n`);
if (values.archive !== undefined) await compare(values.archive, Number(values.keep));
await speed();
