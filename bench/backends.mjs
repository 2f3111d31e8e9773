// Milliseconds of a forward pass and a training step of the demo's student, by backend and batch size, with the
// errors: of the logits against float64, of the gradient against the plain JavaScript backend.
// Processor time of all threads separates the work from other load on the machine.
// Run: node bench/backends.mjs [runs] [--json FILE]; prints a Markdown table. Backends that are not ready are named and left out.
import { writeFile } from 'node:fs/promises';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { studentConfig } from '../dist/apps/demo/recipe.js';
import { selectBackend, tensorflowStatus } from '../dist/nn/backend/select.js';
import { ConvNet } from '../dist/nn/convnet.js';
import { predict } from '../dist/nn/network.js';
import { kdLoss } from '../dist/training/loss.js';
import { AdamW } from '../dist/training/optimiser.js';
import { trainStep } from '../dist/training/train.js';
import { float64Logits } from './teachers/float64.mjs';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' } },
});
const CLASSES = 1000;
const BATCHES = [1, 16, 64, 256];
/** Images of the comparisons. */
const CHECKED = 4;
const runs = Number(positionals[0] ?? 10);
const config = studentConfig(CLASSES);
const pixels = config.inputSize ** 2 * 3;
const loss = (logits, labels) => kdLoss(logits, labels, 20);

const machine = {
  processor: os.cpus()[0].model,
  cores: os.availableParallelism(),
  node: process.version,
  load: Number(os.loadavg()[0].toFixed(1)),
};
console.log(
  `${machine.processor}, ${machine.cores} cores, Node ${machine.node}, load ${machine.load}; ` +
    `${runs} runs, median (fastest to slowest)\n`,
);
const wanted = await reference();
console.log(
  '| backend | batch | forward, ms | processor | train step, ms | processor | images/s trained | logits | gradient |',
);
console.log('|---|---|---|---|---|---|---|---|---|');
const rows = [];
for (const { name, state, reason } of await tensorflowStatus()) {
  // One step of the plain JavaScript backend takes minutes.
  if (name === 'cpu') continue;
  if (state !== 'ready') console.log(`| ${name} | ${reason} | | | | | | | |`);
  else await measureBackend(name);
}
if (flags.json) await writeFile(flags.json, `${JSON.stringify({ machine, rows }, null, 2)}\n`);

/** The network's first weights, and their results by exact arithmetic and by the reference backend. */
async function reference() {
  const { tf } = await selectBackend({ backend: 'cpu' });
  const model = ConvNet.create(config, 1);
  const parameters = await model.parameters();
  model.dispose();
  const logits = float64Logits(config, parameters, images(CHECKED));
  return { parameters, logits, gradient: await gradientOf(tf, parameters) };
}

function network({ parameters }) {
  return ConvNet.fromParameters(
    config,
    new Map([...parameters].map(([name, { values }]) => [name, values])),
  );
}

/** All gradients of one batch, one after the other. */
async function gradientOf(tf, parameters) {
  const model = network({ parameters });
  const { value, grads } = tf.variableGrads(() => {
    const xs = tf.tensor4d(images(CHECKED), [CHECKED, config.inputSize, config.inputSize, 3]);
    return loss(
      model.apply(xs, { training: true }),
      tf.tensor2d(labels(CHECKED), [CHECKED, CLASSES]),
    );
  }, model.trainable);
  const all = [];
  for (const { name } of model.trainable) all.push(...(await grads[name].data()));
  tf.dispose([value, grads]);
  model.dispose();
  return all;
}

async function measureBackend(backend) {
  const { tf } = await selectBackend({ backend });
  const model = network(wanted);
  const logits = relativeError(await predict(model, images(CHECKED)), wanted.logits);
  const gradient = relativeError(await gradientOf(tf, wanted.parameters), wanted.gradient);
  const optimizer = new AdamW(model.trainable, { learningRate: 1e-3 });
  for (const batch of BATCHES) {
    const ys = labels(batch);
    const forward = await measure(() => predict(model, images(batch)));
    const step = await measure(() => trainStep(model, { xs: images(batch), ys }, optimizer, loss));
    const rate = (1000 * batch) / step.median;
    rows.push({
      backend,
      batch,
      forward,
      step,
      imagesPerSecond: rate,
      errors: { logits, gradient },
    });
    const cells = [backend, batch, cell(forward), forward.processor.toFixed(1)];
    cells.push(cell(step), step.processor.toFixed(1), rate.toFixed(0));
    console.log(
      `| ${[...cells, logits.toExponential(1), gradient.toExponential(1)].join(' | ')} |`,
    );
  }
  optimizer.dispose();
  model.dispose();
}

function images(count) {
  return Float32Array.from({ length: count * pixels }, (_, i) => Math.sin(i * 0.37 + (i % 1001)));
}

function labels(count) {
  const rows = new Float32Array(count * CLASSES).fill(0.5 / (CLASSES - 1));
  for (let i = 0; i < count; i++) rows[i * CLASSES + ((i * 37) % CLASSES)] = 0.5;
  return rows;
}

function relativeError(found, expected) {
  let [difference, energy] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (found[i] - expected[i]) ** 2;
    energy += expected[i] ** 2;
  }
  return found.length === expected.length ? Math.sqrt(difference / energy) : Number.NaN;
}

async function measure(run) {
  await run();
  const [times, work] = [[], []];
  for (let i = 0; i < runs; i++) {
    const [start, before] = [performance.now(), process.cpuUsage()];
    await run();
    times.push(performance.now() - start);
    const { user, system } = process.cpuUsage(before);
    work.push((user + system) / 1000);
  }
  const sorted = times.sort((a, b) => a - b);
  const processor = work.sort((a, b) => a - b)[Math.floor(runs / 2)];
  return { median: sorted[Math.floor(runs / 2)], min: sorted[0], max: sorted[runs - 1], processor };
}

function cell({ median, min, max }) {
  return `${median.toFixed(1)} (${min.toFixed(1)} to ${max.toFixed(1)})`;
}
