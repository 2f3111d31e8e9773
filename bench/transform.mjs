// Labels of the transform codec beside those of the paper's autoencoder at the same ratios of the whole archive, then labels
// per second and core at 1,000 classes and 64 components:
//   node bench/transform.mjs [--archive FOLDER] [--keep 8] [--steps 400] [--ratios 100,200,400,1000] [--rounds 9]
// FOLDER holds uncompressed logits (`softpack cache` without a codec; those of the demo are in its workspace). Errors are
// divergences of all decoded labels from the teacher's; speeds are medians of the rounds, slowest to fastest, on one thread.
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CODECS } from '#src/codecs/registry.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { loadKernels } from '#src/kernels/load.js';
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

async function median(work) {
  const rates = [];
  for (let round = 0; round < rounds; round++) {
    const begin = performance.now();
    await work();
    rates.push((1e3 * LABELS) / (performance.now() - begin));
  }
  rates.sort((a, b) => a - b);
  const [low, middle, high] = [rates[0], rates[rounds >> 1], rates[rounds - 1]].map(Math.round);
  return `${middle} (${low} to ${high})`;
}

async function speed() {
  const kernels = loadKernels();
  const logits = teacherLogits();
  const labels = new Float32Array(logits.length);
  softmaxRows(logits, LABELS, CLASSES, TAU, labels);
  const all = { start: 0, count: LABELS };
  const context = { epoch: 0, samples: all };
  const visit = async (show) => show(logits.slice(), context);
  const known = { classes: CLASSES, samples: LABELS, labels: LABELS, tau: TAU, eps: 1e-6, kernels };
  const drawing = { drawLogits: visit, scanLogits: visit, draw: async () => labels.slice() };
  console.log('\n| codec | bits per label | encoded per second | decoded per second |');
  console.log('| --- | --- | --- | --- |');
  for (const choice of [
    ...[1, 4, 8].map((states) => ({
      name: 'transform',
      step: 60,
      components: 64,
      states,
      bases: false,
    })),
    { name: 'vqae', dh: 1000, dc: 100, k: 64 },
  ]) {
    const training = { steps: 5, threads: 1 };
    const { codec } = await CODECS.train(choice, { ...known, ...drawing, training });
    const row = await codec.encode(logits, context);
    const encode = await median(() => codec.encode(logits, context, { threads: 1 }));
    const out = new Float32Array(logits.length);
    const decode = await median(() => {
      // Without the blocks that the codec keeps, as a loader finds them.
      const fresh = CODECS.load(codec.parts(), kernels);
      fresh.decode({ row, labels: all, context, out, threads: 1 });
      fresh.dispose();
    });
    const name =
      choice.states === undefined ? 'vqae (1000, 100, 64)' : `transform, ${choice.states} states`;
    console.log(`| ${name} | ${((8 * row.length) / LABELS).toFixed(1)} | ${encode} | ${decode} |`);
    codec.dispose();
  }
}

console.log(`${os.cpus()[0].model}, ${loadKernels().isa}, node ${process.version}\n`);
if (values.archive !== undefined) await compare(values.archive, Number(values.keep));
await speed();
