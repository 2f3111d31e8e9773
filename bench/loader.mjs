// Images and labels per second of the loader, by kind of images and number of workers, at (50, 128) of 1,000 classes and
// 224 pixels, next to `tf.data.generator` + sharp and, if a Python has torch, a PyTorch DataLoader on batch files in
// SRe2L's layout with the same labels. Then the wait while a student trains, and memory over 50 epochs.
//
// Run: node bench/loader.mjs [--seconds S] [--samples N] [--python FILE] [--json FILE] [--only table|student|soak]
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { Augmenter, imageFolder, loadCodec, loadKernels, openImages, packImages } from 'softpack';
import { float32ToFloat16 } from '../dist/core/half.js';
import { benchLoader } from '../dist/loader/bench.js';
import { describeMachine, machineLine } from './kernels/machine.mjs';
import { SHAPE, writeLabels, writePhotographs } from './loader/data.mjs';
import { soak } from './loader/soak.mjs';
import { studentWait } from './loader/student.mjs';

const { values: flags } = parseArgs({
  options: {
    seconds: { type: 'string', default: '6' },
    samples: { type: 'string', default: '2048' },
    python: { type: 'string', default: 'python3' },
    json: { type: 'string' },
    only: { type: 'string' },
  },
});
const [seconds, samples] = [Number(flags.seconds), Number(flags.samples)];
const [BATCH, SIZE, SIDE] = [64, 224, 256];
const WORKERS = [0, 1, 2];
const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };

const kernels = loadKernels();
const machine = describeMachine(kernels);
console.log(`${machineLine(machine)}\n`);
const work = await mkdtemp(join(tmpdir(), 'softpack-bench-loader-'));
const report = { machine };
try {
  const wanted = (part) => flags.only === undefined || flags.only === part;
  if (wanted('table')) report.table = await table();
  if (wanted('student')) report.student = await studentWait(work, seconds);
  if (wanted('soak')) report.soak = await soak(work, 50);
  if (flags.json) await writeFile(flags.json, `${JSON.stringify(report, null, 2)}\n`);
} finally {
  await rm(work, { recursive: true });
}

async function table() {
  const folder = join(work, 'photographs');
  const bytes = await writePhotographs(folder, samples, SIDE);
  const archive = await writeLabels(join(work, 'labels'), samples, SIZE, { kind: 'none' });
  const mix = { kind: 'cutmix', alpha: 1, probability: 1 };
  const mixed = await writeLabels(join(work, 'mixed'), samples, SIZE, mix);
  const files = await imageFolder(folder);
  for (const encoding of ['raw', 'jpeg']) {
    await packImages({ images: files, out: join(work, encoding), encoding });
  }
  const [raw, jpeg] = await Promise.all(
    ['raw', 'jpeg'].map((name) => openImages(join(work, name))),
  );
  console.log(
    `${samples} JPEGs of ${SIDE} x ${SIDE} pixels, ${(bytes / 1000).toFixed(1)} kB each, cropped to ${SIZE}; ` +
      `labels of ${SHAPE.classes} classes at (${SHAPE.dc}, ${SHAPE.k}); batches of ${BATCH}; ${seconds} s a figure\n`,
  );
  console.log(
    '| images | workers | samples/s | per second of CPU | labels, share of the work | bound by |',
  );
  console.log('| --- | --- | --- | --- | --- | --- |');
  const rows = [];
  const measure = async (name, images, { labels = archive, ...rest } = {}) => {
    const options = { archive: labels, images, normalisation, batchSize: BATCH, seconds, ...rest };
    for (const run of await benchLoader({ ...options, workers: WORKERS })) {
      rows.push({ name, ...run });
      const { samplesPerSecond, samplesPerCpuSecond, labelShare, bound } = run;
      const speeds = [samplesPerSecond, samplesPerCpuSecond].map((value) => value.toFixed(0));
      const share = `${(100 * labelShare).toFixed(2)} %`;
      console.log(`| ${name} | ${run.workers} | ${speeds.join(' | ')} | ${share} | ${bound} |`);
    }
  };
  await measure('packed raw', raw);
  await measure('packed raw, fast labels', raw, { precision: 'fast' });
  await measure('packed raw, slots', raw, { buffers: 'slots' });
  await measure('packed raw, slots, fast labels', raw, { buffers: 'slots', precision: 'fast' });
  await measure('packed JPEG', jpeg);
  await measure('folder', files);
  await measure('packed raw, CutMix', raw, { labels: mixed });
  await measure('none, labels alone', undefined);
  await measure('none, fast labels alone', undefined, { precision: 'fast' });
  await writeRivalData(archive);
  rows.push(...(await tfData(folder)), ...(await torch(folder)));
  await archive.close();
  await mixed.close();
  const best = (name) =>
    Math.max(...rows.filter((row) => row.name === name).map((row) => row.samplesPerSecond));
  const ratio = (name) => (best(name) / best('folder')).toFixed(1);
  console.log(
    `\npacked raw is ${ratio('packed raw')} times as quick as the folder, in slots ` +
      `${ratio('packed raw, slots')} times, each at its best\n`,
  );
  return rows;
}

/** The labels and views of epoch 0 in the rivals' layout. */
async function writeRivalData(archive) {
  const codec = loadCodec(archive.codecParts, kernels);
  const ids = Uint32Array.from({ length: samples }, (_, i) => i);
  const out = new Float32Array(samples * archive.classes);
  codec.decode({
    row: await archive.readRow(0),
    labels: ids,
    context: { epoch: 0, samples: ids },
    out,
  });
  codec.dispose();
  const halves = new Uint16Array(out.length);
  // Logits: the temperature times the log of the decoded labels.
  float32ToFloat16(
    out.map((y) => SHAPE.tau * Math.log(y)),
    halves,
  );
  const sizes = { count: samples, sizeOf: () => [SIDE, SIDE] };
  const { crop, flip } = new Augmenter(archive.manifest.augmentation, sizes).batch(0, ids);
  await writeFile(join(work, 'labels.f16'), halves);
  await writeFile(
    join(work, 'coords.f32'),
    Float32Array.from(crop, (value) => value / SIDE),
  );
  await writeFile(join(work, 'flip.u8'), flip);
}

async function tfData(folder) {
  const script = fileURLToPath(new URL('loader/tf-data.mjs', import.meta.url));
  const numbers = [samples, SHAPE.classes, BATCH, SIZE, seconds].map(String);
  const { stdout } = await promisify(execFile)(process.execPath, [
    script,
    folder,
    work,
    ...numbers,
  ]);
  const { backend, imagesPerSecond, imagesPerCpuSecond } = JSON.parse(
    stdout.trim().split('\n').at(-1),
  );
  const name = `tf.data.generator + sharp (${backend})`;
  console.log(
    `| ${name} | 0 | ${imagesPerSecond.toFixed(0)} | ${imagesPerCpuSecond.toFixed(0)} | | |`,
  );
  return [
    {
      name,
      workers: 0,
      samplesPerSecond: imagesPerSecond,
      samplesPerCpuSecond: imagesPerCpuSecond,
    },
  ];
}

async function torch(folder) {
  const script = fileURLToPath(new URL('loader/torch_peer.py', import.meta.url));
  const numbers = [samples, SHAPE.classes, BATCH, SIZE, seconds].map(String);
  const args = [script, folder, work, ...numbers, WORKERS.join(',')];
  const { stdout } = await promisify(execFile)(flags.python, args).catch((error) => {
    const reason = String(error.stderr ?? error.message)
      .trim()
      .split('\n')
      .at(-1);
    console.log(
      `\nskipped: PyTorch DataLoader (${flags.python}: ${reason}; --python names another)`,
    );
    return { stdout: '' };
  });
  if (stdout === '') return [];
  const { torch: version, runs } = JSON.parse(stdout.trim().split('\n').at(-1));
  return runs.map(({ workers, imagesPerSecond, imagesPerCpuSecond }) => {
    const name = `PyTorch ${version} DataLoader, SRe2L batch files`;
    console.log(
      `| ${name} | ${workers} | ${imagesPerSecond.toFixed(0)} | ${imagesPerCpuSecond.toFixed(0)} | | |`,
    );
    return {
      name,
      workers,
      samplesPerSecond: imagesPerSecond,
      samplesPerCpuSecond: imagesPerCpuSecond,
    };
  });
}
