// Milliseconds of a forward pass and a training step of the demo's student, by backend and batch size.
// Run: node bench/backends.mjs [runs]; prints a Markdown table. Backends that are not ready are named and left out.
import os from 'node:os';
import { studentConfig } from '../dist/demo/recipe.js';
import { AdamW } from '../dist/nn/adamw.js';
import { selectBackend, tensorflowStatus } from '../dist/nn/backend.js';
import { kdLoss } from '../dist/nn/loss.js';
import { ConvNet } from '../dist/nn/models.js';
import { trainStep } from '../dist/nn/train.js';

const CLASSES = 1000;
const BATCHES = [1, 16, 64, 256];
const runs = Number(process.argv[2] ?? 10);

console.log(
  `${os.cpus()[0].model}, ${os.availableParallelism()} cores, Node ${process.version}, ` +
    `load ${os.loadavg()[0].toFixed(1)}; ${runs} runs, median (fastest to slowest)\n`,
);
console.log('| backend | batch | forward, ms | train step, ms | images/s trained |');
console.log('|---|---|---|---|---|');
for (const { name, state, reason } of await tensorflowStatus()) {
  // One step of the plain JavaScript backend takes minutes.
  if (name === 'cpu') continue;
  if (state !== 'ready') console.log(`| ${name} | ${reason} | | | |`);
  else await measureBackend(name);
}

async function measureBackend(backend) {
  await selectBackend({ backend });
  const config = studentConfig(CLASSES);
  const model = ConvNet.create(config, 1);
  const optimizer = new AdamW(model.trainable, { learningRate: 1e-3 });
  const loss = (logits, labels) => kdLoss(logits, labels, 20);
  for (const batch of BATCHES) {
    const images = () => new Float32Array(batch * config.inputSize ** 2 * 3).fill(0.5);
    const ys = new Float32Array(batch * CLASSES).fill(1 / CLASSES);
    const forward = await measure(() => model.predict(images()));
    const step = await measure(() => trainStep(model, { xs: images(), ys }, optimizer, loss));
    const rate = ((1000 * batch) / step.median).toFixed(0);
    console.log(`| ${backend} | ${batch} | ${cell(forward)} | ${cell(step)} | ${rate} |`);
  }
  optimizer.dispose();
  model.dispose();
}

async function measure(run) {
  await run();
  const times = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await run();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  return { median: times[Math.floor(runs / 2)], min: times[0], max: times[runs - 1] };
}

function cell({ median, min, max }) {
  return `${median.toFixed(1)} (${min.toFixed(1)} to ${max.toFixed(1)})`;
}
