// Imports labels in the layout of SRe2L and reads what it costs:
//   node bench/import.mjs [MB]
//
// Writes the files first (1,000 classes, 5 images each, batches of 100, plain views; the right class is the likeliest),
// then imports them in a process of its own, next to copying the same files. Prints MB/s and the largest resident
// memory, also after a tenth of the epochs: what grows with the number of labels shows there.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { torchFileOf } from '#src/container/torch/write.js';
import { importLabels } from '#src/interop/import.js';
import { torchOrders } from '#src/interop/random-sampler.js';

const CLASSES = 1000;
const EACH = 5;
const SAMPLES = CLASSES * EACH;
const BATCH = 100;
const self = fileURLToPath(import.meta.url);

if (process.argv[2] === 'child') await child(...process.argv.slice(3));
else await parent(Number(process.argv[2] ?? 1000));

async function parent(megabytes) {
  const folder = mkdtempSync(path.join(tmpdir(), 'softpack-import-'));
  try {
    const epochs = Math.max(10, Math.round(megabytes / 10));
    writeImages(path.join(folder, 'images'));
    const bytes = writeLabels(path.join(folder, 'labels'), epochs);
    const start = performance.now();
    copyAll(path.join(folder, 'labels'), path.join(folder, 'copy'));
    const copied = performance.now() - start;
    const run = JSON.parse(execFileSync(process.execPath, [self, 'child', folder, String(epochs)]));
    const speed = (ms) => `${(bytes / 1e3 / ms).toFixed(0)} MB/s`;
    console.log(
      `${(bytes / 1e6).toFixed(0)} MB, ${epochs} epochs of ${SAMPLES} labels of ${CLASSES} classes`,
    );
    console.log(`import: ${speed(run.ms)}; copying the files: ${speed(copied)}`);
    console.log(`memory: ${run.tenth} MB after a tenth of the epochs, ${run.all} MB at the end`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** One-pixel images, each in the folder of its class. */
function writeImages(folder) {
  const pixel = Buffer.from('P6\n1 1\n255\nabc', 'latin1');
  for (let c = 0; c < CLASSES; c++) {
    const name = path.join(folder, `class${String(c).padStart(4, '0')}`);
    mkdirSync(name, { recursive: true });
    for (let i = 0; i < EACH; i++) writeFileSync(path.join(name, `${i}.ppm`), pixel);
  }
}

function writeLabels(folder, epochs) {
  const orders = torchOrders(SAMPLES, 42, 2);
  // Half floats from 1 to 2 that look random, and 4 for the right class.
  const noise = Uint16Array.from(
    { length: BATCH * CLASSES },
    (_, i) => 0x3c00 | (Math.imul(i + 1, 2654435761) >>> 22),
  );
  let bytes = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = orders.next().value;
    mkdirSync(path.join(folder, `epoch_${epoch}`), { recursive: true });
    for (let b = 0; b * BATCH < SAMPLES; b++) {
      const ids = order.subarray(b * BATCH, (b + 1) * BATCH);
      const logits = noise.slice();
      for (const [i, id] of ids.entries()) logits[i * CLASSES + Math.floor(id / EACH)] = 0x4400;
      const coords = Float32Array.from({ length: 4 * BATCH }, (_, i) => (i % 4 < 2 ? 0 : 1));
      const file = torchFileOf([
        { dtype: 'F32', shape: [BATCH, 4], data: new Uint8Array(coords.buffer) },
        { dtype: 'BOOL', shape: [BATCH], data: new Uint8Array(BATCH) },
        ...[null, null, null],
        { dtype: 'F16', shape: [BATCH, CLASSES], data: new Uint8Array(logits.buffer) },
      ]);
      writeFileSync(path.join(folder, `epoch_${epoch}`, `batch_${b}.tar`), file);
      bytes += file.length;
    }
  }
  return bytes;
}

function copyAll(from, to) {
  for (const epoch of readdirSync(from)) {
    mkdirSync(path.join(to, epoch), { recursive: true });
    for (const name of readdirSync(path.join(from, epoch))) {
      copyFileSync(path.join(from, epoch, name), path.join(to, epoch, name));
    }
  }
}

async function child(folder, epochs) {
  const peak = () => Math.round(process.resourceUsage().maxRSS / 1024);
  let tenth = 0;
  const start = performance.now();
  await importLabels({
    ...{ source: path.join(folder, 'labels'), images: path.join(folder, 'images') },
    out: path.join(folder, 'archive'),
    onProgress(done) {
      if (tenth === 0 && done >= (SAMPLES * Number(epochs)) / 10) tenth = peak();
    },
  });
  console.log(JSON.stringify({ ms: performance.now() - start, tenth, all: peak() }));
}
