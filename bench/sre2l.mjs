// Labels that PyTorch made in SRe2L's layout, imported, packed at 40x in total, and students trained from the original files by
// the original recipe, from the archive in PyTorch, and from the archive in TensorFlow.js:
//   SOFTPACK_PYTHON=python node bench/sre2l.mjs [--dir DIR] [--classes all] [--epochs 40] [--seeds 3]
//
// Python needs torch and torchvision. Images are the demo's emoji, installed on the first run (546 classes, 1,599 with
// `--classes all`): three designers' sets train the teacher, one of them is labelled, the fourth is held out. Finished
// steps in DIR are not repeated. One student at a time, one thread each. Prints a Markdown table.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { loadEmoji } from '#apps/demo/emoji.js';
import { FULL, QUICK } from '#apps/experiments/recipe.js';
import { renderWhole } from '#src/augment/replay.js';
import { PIL_RENDERING } from '#src/augment/spec.js';
import { openImages } from '#src/images/open.js';
import { packImages } from '#src/images/packed/pack.js';
import { openImageReader } from '#src/images/reader.js';
import { importLabels } from '#src/interop/import.js';
import { createLoader } from '#src/loader/loader.js';
import { selectBackend } from '#src/nn/backend/select.js';
import { ConvNet } from '#src/nn/convnet.js';
import { packLogits } from '#src/pipeline/pack.js';
import { trainStudent } from '#src/training/distill.js';
import { evaluateTop1 } from '#src/training/evaluate.js';

const { values: flags } = parseArgs({
  options: {
    dir: { type: 'string', default: 'softpack-sre2l' },
    classes: { type: 'string', default: 'demo' },
    epochs: { type: 'string', default: '40' },
    seeds: { type: 'string', default: '3' },
    student: { type: 'string' },
  },
});
const [STORED, SIDE, BATCH, RATE, WARMUP, TAU] = [32, 24, 64, 0.02, 50, 20];
const NORMALISATION = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] };
const at = (...names) => path.join(flags.dir, ...names);
const python = process.env.SOFTPACK_PYTHON ?? 'python3';
const root = fileURLToPath(new URL('..', import.meta.url));
const threads = { OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1', MKL_NUM_THREADS: '1' };
const env = { ...process.env, ...threads, PYTHONPATH: path.join(root, 'python') };

if (flags.student === undefined) await main();
else console.log(JSON.stringify(await tensorflowStudent(Number(flags.student))));

async function main() {
  await mkdir(flags.dir, { recursive: true });
  if (!existsSync(at('held-out'))) await writeImages();
  if (!existsSync(at('relabel'))) {
    const epochs = flags.epochs;
    const script = path.join(root, 'bench/sre2l/labels.py');
    execFileSync(python, [script, flags.dir, epochs, '1'], { env, stdio: 'inherit' });
  }
  await importAndPack();
  execFileSync(python, ['-m', 'softpack_labels.build', '--source', root], { env, stdio: 'ignore' });
  const self = [fileURLToPath(import.meta.url), '--dir', flags.dir, '--student'];
  const script = path.join(root, 'bench/sre2l/students.py');
  const rows = await linesOf(python, [script, flags.dir, flags.seeds]);
  for (let seed = 0; seed < Number(flags.seeds); seed++) {
    rows.push(...(await linesOf(process.execPath, [...self, String(seed)])));
  }
  print(rows, await sizesOf());
}

/** JSON that a program prints, line by line; shown as it comes. */
async function linesOf(program, args) {
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((done) => child.once('close', done));
  let text = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    process.stderr.write(chunk);
    text += chunk;
  }
  if ((await ended) !== 0) throw new Error(`${args[0]} failed`);
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Folders of classes: the teacher's images, those of the first set to label, and the last set. */
async function writeImages() {
  const { categories } = flags.classes === 'all' ? FULL : QUICK;
  const { classes, sets, pixels } = await loadEmoji({ dir: flags.dir, size: STORED, categories });
  const bytes = STORED * STORED * 3;
  const raw = { raw: { width: STORED, height: STORED, channels: 3 } };
  const write = async (folder, c, set) => {
    const name = path.join(folder, String(c).padStart(4, '0'));
    await mkdir(name, { recursive: true });
    const begin = (set * classes.length + c) * bytes;
    const image = sharp(pixels.subarray(begin, begin + bytes), raw);
    await image.png().toFile(path.join(name, `${sets[set]}.png`));
  };
  await rm(at('held-out.partial'), { recursive: true, force: true });
  for (const c of classes.keys()) {
    for (let set = 0; set < sets.length - 1; set++) await write(at('teacher'), c, set);
    await write(at('images'), c, 0);
    await write(at('held-out.partial'), c, sets.length - 1);
  }
  await rename(at('held-out.partial'), at('held-out'));
}

async function importAndPack() {
  if (!existsSync(at('packed-images', 'manifest.json'))) {
    await packImages({ images: await openImages(at('images')), out: at('packed-images') });
  }
  if (existsSync(at('packed', 'manifest.json'))) return;
  await rm(at('imported'), { recursive: true, force: true });
  const start = performance.now();
  const options = { source: at('relabel'), images: at('images'), out: at('imported') };
  const views = { size: [SIDE, SIDE], crops: 'pixels' };
  const { agreement, drawsPerEpoch } = await importLabels({ ...options, ...views });
  const seconds = (performance.now() - start) / 1000;
  console.log(
    `imported in ${seconds.toFixed(1)} s; ${drawsPerEpoch} draws per epoch, agreement ${agreement.share.toFixed(2)}`,
  );
  const codec = { totalRatio: 40 };
  const { ratio, divergence } = await packLogits({
    ...{ source: at('imported'), out: at('packed'), codec, training: { steps: 1000, seed: 1 } },
  });
  console.log(
    `packed: ${ratio.total.toFixed(1)}x, ${ratio.codes.toFixed(1)}x by codes, KL ${divergence.kl.toExponential(2)}, same top class ${(100 * divergence.top1).toFixed(1)} %`,
  );
}

async function tensorflowStudent(seed) {
  const { name } = await selectBackend({ backend: 'wasm' });
  const loader = await createLoader({
    ...{ archive: at('packed'), images: at('packed-images'), normalisation: NORMALISATION },
    ...{ batchSize: BATCH, seed, workers: 0 },
  });
  const classes = (await openImages(at('images'))).classNames.length;
  const { from, to } = loader.epochs;
  const steps = (to - from) * loader.batchesPerEpoch;
  const network = ConvNet.create(
    { inputSize: SIDE, widths: [32, 64, 128], blocks: [0, 0, 0], classes },
    seed,
  );
  const start = process.cpuUsage();
  await trainStudent({
    ...{ network, batches: loader, steps, lr: RATE, warmup: WARMUP, weightDecay: 0.05, tau: TAU },
  });
  const { user, system } = process.cpuUsage(start);
  const epoch = (user + system) / 1e6 / (to - from);
  const top1 = 100 * (await evaluateTop1(network, await heldOut()));
  await loader.close();
  const student = `softpack, packed images, TensorFlow.js (${name})`;
  return { student, seed, top1, epoch };
}

/** Resized as PIL does. */
async function heldOut() {
  const { description, targets } = await openImages(at('held-out'));
  const reader = await openImageReader(description);
  const ids = Uint32Array.from(targets.keys());
  const pixels = await reader.read(ids);
  const xs = new Float32Array(ids.length * SIDE * SIDE * 3);
  renderWhole(pixels, ids, [SIDE, SIDE], NORMALISATION, xs, PIL_RENDERING);
  return { xs, classes: Uint16Array.from(targets) };
}

async function sizesOf() {
  const size = async (folder) => {
    const names = await readdir(folder, { recursive: true });
    const files = await Promise.all(names.map((name) => stat(path.join(folder, name))));
    return files.reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
  };
  return { files: await size(at('relabel')), archive: await size(at('packed')) };
}

function print(rows, { files, archive }) {
  const { model } = os.cpus()[0];
  const versions = execFileSync(python, ['-c', 'import torch; print(torch.__version__)']);
  console.log(
    `\n${model}, ${os.availableParallelism()} cores, load ${os.loadavg()[0].toFixed(1)}, torch ${String(versions).trim()}\n`,
  );
  console.log('| student | labels, MB | top-1, % | CPU s per epoch | of them reading |');
  console.log('|---|---|---|---|---|');
  for (const name of new Set(rows.map(({ student }) => student))) {
    const own = rows.filter(({ student }) => student === name);
    const bytes = name === 'original files' ? files : archive;
    const tops = own.map(({ top1 }) => top1);
    const mean = tops.reduce((a, b) => a + b, 0) / tops.length;
    const spread = Math.sqrt(tops.reduce((a, b) => a + (b - mean) ** 2, 0) / (tops.length - 1));
    const median = (of) => of(own.toSorted((a, b) => of(a) - of(b))[Math.floor(own.length / 2)]);
    const cells = [name, (bytes / 1e6).toFixed(2), `${mean.toFixed(1)} ± ${spread.toFixed(1)}`];
    cells.push(median(({ epoch }) => epoch).toFixed(2));
    cells.push(own[0].reading === undefined ? '' : median(({ reading }) => reading).toFixed(2));
    console.log(`| ${cells.join(' | ')} |`);
  }
}
