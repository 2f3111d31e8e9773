// Speed of the kernels on this machine: node bench/kernels.mjs   (after npm run build)
//
// Wall-clock, best of several runs, one thread and all of them. The peak is what `project` reaches on operands that
// stay in the first-level cache, so a share of it tells what packing and memory cost.
import os from 'node:os';
import { kernelStatus, loadKernels } from '#src/native/index.js';

const CLASSES = 1000;
/** Segment settings of the paper for 10x to 200x: latent, width, levels. */
const SETTINGS = [
  [795, 5, 1024],
  [990, 15, 2048],
  [1000, 20, 1024],
  [1000, 25, 512],
  [1000, 50, 128],
  [1000, 100, 64],
];
const LABELS = 2048;
const REFERENCE_LABELS = 24;

const kernels = loadKernels();
const reference = loadKernels({ backend: 'reference' });

function randomFloats(length) {
  return Float32Array.from({ length }, () => Math.random() - 0.5);
}

/** Least seconds of `run` over half a second or so, at least three runs. */
function seconds(run) {
  let least = Infinity;
  const end = performance.now() + 500;
  for (let i = 0; i < 3 || performance.now() < end; i++) {
    const start = performance.now();
    run();
    least = Math.min(least, (performance.now() - start) / 1000);
  }
  return least;
}

function gigaflops([rows, inner, columns], flags, threads) {
  const a = randomFloats(rows * inner);
  const b = randomFloats(inner * columns);
  const args = {
    a,
    b,
    out: new Float32Array(rows * columns),
    rows,
    inner,
    columns,
    ...flags,
    threads,
  };
  return (2e-9 * rows * inner * columns) / seconds(() => kernels.project(args));
}

function labelsPerSecond(backend, [latent, width, levels], count, threads) {
  const stages = latent / width;
  const bits = Math.log2(levels);
  const decoder = backend.createDecoder({
    ...{ classes: CLASSES, latent, stages, levels, width, bits },
    codebookStride: 0,
    latentStep: width,
    codebooks: randomFloats(levels * width),
    basis: randomFloats(latent * CLASSES),
    head: { kind: 'clamp', eps: 1e-6 },
  });
  const codes = new Uint8Array(Math.ceil((count * stages * bits) / 8)).map(
    () => 256 * Math.random(),
  );
  const out = new Float32Array(count * CLASSES);
  const time = seconds(() => decoder.decode({ codes, labels: { start: 0, count }, out, threads }));
  const { method } = decoder;
  decoder.dispose();
  return { speed: count / time, method };
}

function nearestPerSecond([latent, width, levels]) {
  const vectors = randomFloats(512 * latent);
  const out = new Uint16Array(vectors.length / width);
  const codebook = randomFloats(levels * width);
  return 512 / seconds(() => kernels.nearest({ vectors, codebook, out, width, threads: 1 }));
}

console.log(
  `${os.cpus()[0]?.model}, ${os.availableParallelism()} processors, load ${os.loadavg()[0]?.toFixed(1)}`,
);
console.log(`Node.js ${process.version}, kernels: ${kernelStatus()[0]?.reason}`);
const peak = gigaflops([48, 64, 96], {}, 1);
console.log(`small product: ${peak.toFixed(0)} GFLOP/s on one thread`);

const products = {};
for (const [name, shape, flags] of [
  ['512x1000x1000', [512, 1000, 1000], {}],
  ['1000x512x1000 A^T', [1000, 512, 1000], { transposeA: true }],
  ['512x1000x1000 B^T', [512, 1000, 1000], { transposeB: true }],
]) {
  const one = gigaflops(shape, flags, 1);
  const all = gigaflops(shape, flags, 0);
  products[name] = { 'GFLOP/s, 1 thread': Math.round(one), 'all threads': Math.round(all) };
}
console.table(products);

const settings = {};
for (const setting of SETTINGS) {
  const { speed: one, method } = labelsPerSecond(kernels, setting, LABELS, 1);
  const all = labelsPerSecond(kernels, setting, LABELS, 0).speed;
  const slow = labelsPerSecond(reference, setting, REFERENCE_LABELS, 1).speed;
  settings[setting.join(', ')] = {
    'nearest labels/s': Math.round(nearestPerSecond(setting)),
    'decode labels/s, 1 thread': Math.round(one),
    'all threads': Math.round(all),
    method,
    reference: Math.round(slow),
    ratio: Math.round(one / slow),
  };
}
console.table(settings);
