// Images per second through one network as a teacher: softpack's own on each TensorFlow.js backend, and as an ONNX
// file, with the error of its logits against float64. The network is the demo's teacher, trained weights and all.
// Processor time of all threads separates the work from other load on the machine.
// Run: node bench/teachers.mjs [rounds] [--json FILE]; prints a Markdown table; names and leaves out what is not ready.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { selectBackend, tensorflowStatus } from '../dist/nn/backend/select.js';
import { loadTeacher } from '../dist/nn/teachers/load.js';
import { loadConvNet } from '../dist/nn/weights.js';
import { float64Logits } from './teachers/float64.mjs';
import { onnxFile } from './teachers/onnx-file.mjs';

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' } },
});
const rounds = Number(positionals[0] ?? 15);
const BATCHES = [1, 8, 64, 128];
/** Images that the float64 network sees. */
const CHECKED = 8;
const FILE = 'assets/demo-teacher.safetensors';

const folder = await mkdtemp(join(os.tmpdir(), 'softpack-teachers-'));
try {
  const machine = {
    processor: os.cpus()[0].model,
    cores: os.availableParallelism(),
    node: process.version,
    load: Number(os.loadavg()[0].toFixed(1)),
  };
  const teachers = await openTeachers();
  const size = teachers[0].teacher.size[0];
  const images = smoothImages(Math.max(...BATCHES), size);
  const wanted = float64Logits(
    teachers.config,
    teachers.parameters,
    images.subarray(0, CHECKED * size * size * 3),
  );
  const rows = [];
  for (const batch of BATCHES) rows.push(...(await measure(teachers, images, wanted, batch, size)));
  print(machine, rows);
  if (flags.json) await writeFile(flags.json, `${JSON.stringify({ machine, rows }, null, 2)}\n`);
  for (const { teacher } of teachers) teacher[Symbol.dispose]();
} finally {
  await rm(folder, { recursive: true });
}

async function openTeachers() {
  await selectBackend({ backend: 'wasm' });
  const { model } = await loadConvNet(FILE);
  const { config } = model;
  const parameters = await model.parameters();
  model.dispose();
  const file = join(folder, 'teacher.onnx');
  await writeFile(file, onnxFile(config, parameters));
  const description = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
  const teachers = [];
  const tensorflow = (await tensorflowStatus()).find(({ name }) => name === 'tensorflow');
  for (const backend of ['wasm', 'tensorflow']) {
    if (backend === 'tensorflow' && tensorflow.state !== 'ready') {
      console.log(`tensorflow left out: ${tensorflow.reason}\n`);
      continue;
    }
    teachers.push({ name: backend, backend, teacher: await loadTeacher(FILE, { backend }) });
  }
  try {
    const teacher = await loadTeacher(file, { description });
    teachers.push({ name: 'onnxruntime, 1 thread', teacher });
  } catch (error) {
    console.log(`onnxruntime left out: ${error.message}\n`);
  }
  return Object.assign(teachers, { config, parameters });
}

/** Runs all teachers in every round, so that other load on the machine affects all alike. */
async function measure(teachers, images, wanted, batch, size) {
  const stride = size * size * 3;
  const times = new Map(teachers.map(({ name }) => [name, []]));
  const work = new Map(teachers.map(({ name }) => [name, []]));
  const errors = new Map();
  for (let round = -1; round < rounds; round++) {
    for (const { name, backend, teacher } of teachers) {
      if (backend !== undefined) await selectBackend({ backend });
      const passes = Math.max(1, Math.floor(16 / batch));
      const [start, before] = [performance.now(), process.cpuUsage()];
      let logits;
      for (let pass = 0; pass < passes; pass++) {
        logits = await teacher.logits(
          images.slice(pass * batch * stride, (pass + 1) * batch * stride),
        );
      }
      const took = performance.now() - start;
      const { user, system } = process.cpuUsage(before);
      // The first round warms up and compares the same images.
      if (round >= 0) {
        times.get(name).push(took / passes);
        work.get(name).push((user + system) / 1000 / passes);
      } else
        errors.set(
          name,
          relativeError(await teacher.logits(images.slice(0, CHECKED * stride)), wanted),
        );
      if (logits.some((z) => !Number.isFinite(z))) throw new Error(`${name} gives no numbers`);
    }
  }
  const rows = teachers.map(({ name }) => {
    const quantiles = (values) => {
      const sorted = values.sort((a, b) => a - b);
      return (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    };
    const at = quantiles(times.get(name));
    return {
      teacher: name,
      batch,
      milliseconds: at(0.5),
      spread: [at(0.1), at(0.9)],
      imagesPerSecond: (1000 * batch) / at(0.5),
      cpuMilliseconds: quantiles(work.get(name))(0.5),
      error: errors.get(name),
    };
  });
  const [wasm] = rows;
  return rows.map((row) => ({
    ...row,
    timesWasm: row.imagesPerSecond / wasm.imagesPerSecond,
    timesWasmByProcessor: wasm.cpuMilliseconds / row.cpuMilliseconds,
  }));
}

/** Root of the sum of squared differences over that of the expected values, each row about its mean. */
function relativeError(found, wanted) {
  const classes = wanted.length / CHECKED;
  let [difference, energy] = [0, 0];
  for (let i = 0; i < CHECKED; i++) {
    const mean =
      wanted.subarray(i * classes, (i + 1) * classes).reduce((a, b) => a + b, 0) / classes;
    for (let j = i * classes; j < (i + 1) * classes; j++) {
      difference += (found[j] - wanted[j]) ** 2;
      energy += (wanted[j] - mean) ** 2;
    }
  }
  return Math.sqrt(difference / energy);
}

/** Waves of several lengths, the same in every run, so that networks see structure. */
function smoothImages(count, size) {
  const images = new Float32Array(count * size * size * 3);
  for (let i = 0; i < images.length; i++) {
    const [image, y] = [Math.floor(i / (size * size * 3)), Math.floor(i / (size * 3)) % size];
    const x = Math.floor(i / 3) % size;
    images[i] =
      Math.sin(image + (y * (1 + (image % 5))) / 7 + (i % 3)) + Math.cos((x * (image % 7)) / 5);
  }
  return images;
}

function print({ processor, cores, node, load }, rows) {
  console.log(
    `${processor}, ${cores} cores, Node ${node}, load ${load}; ${rounds} rounds, median (10 % to 90 %)\n`,
  );
  console.log(
    '| teacher | batch | ms | processor ms | images/s | of wasm: by clock, by processor | error of the logits |',
  );
  console.log('|---|---|---|---|---|---|---|');
  for (const row of rows) {
    const { teacher, batch, milliseconds, spread, cpuMilliseconds, imagesPerSecond } = row;
    const range = spread.map((value) => value.toFixed(1)).join(' to ');
    const cells = [
      teacher,
      batch,
      `${milliseconds.toFixed(1)} (${range})`,
      cpuMilliseconds.toFixed(1),
    ];
    cells.push(
      imagesPerSecond.toFixed(0),
      `${row.timesWasm.toFixed(1)}x, ${row.timesWasmByProcessor.toFixed(1)}x`,
      row.error.toExponential(1),
    );
    console.log(`| ${cells.join(' | ')} |`);
  }
}
