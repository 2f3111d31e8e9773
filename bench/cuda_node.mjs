// The GPU through Node.js, held to the CPU byte for byte, and its speed there and back: cuda_node.mjs <file.json> [labels].
// Labels of 1,000 classes at (50, 128), from codes on the GPU into host memory; seed 1, median of 5 with the least and the
// greatest.
import { writeFileSync } from 'node:fs';
import { loadKernels } from '../dist/kernels/load.js';

const [file, count = '262144'] = process.argv.slice(2);
const labels = Math.max(1, Math.min(Number(count), 65_536));
// Few labels are a trial of this program.
const [classes, width, bits, stages] = labels < 4096 ? [40, 5, 4, 4] : [1000, 50, 7, 20];
const levels = 2 ** bits;
let state = 1;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const floats = (length) => Float32Array.from({ length }, () => (2 * random() - 1) / 16);
const spec = {
  ...{ classes, latent: stages * width, stages, levels, width, codebookStride: 0 },
  ...{ latentStep: width, bits, codebooks: floats(levels * width) },
  ...{ basis: floats(stages * width * classes), bias: new Float32Array(classes).fill(1e-3) },
  head: { kind: 'clamp', eps: 1e-6 },
};
const codes = Uint8Array.from(
  { length: Math.ceil((labels * stages * bits) / 8) },
  () => 256 * random(),
);
const cuda = loadKernels({ backend: 'cuda' });
const cpu = loadKernels({ backend: 'cpu' });
const rows = [];
for (const method of ['table', 'fixed']) {
  const [here, there] = [cpu, cuda].map((kernels) => kernels.createDecoder({ ...spec, method }));
  const checked = Math.min(labels, 2500);
  const [expected, found] = [here, there].map((decoder) => {
    const out = new Float32Array(checked * classes);
    decoder.decode({ codes, labels: { start: 0, count: checked }, out });
    return Buffer.from(out.buffer);
  });
  if (!expected.equals(found)) throw new Error(`${method}: other bytes than the CPU's`);
  const resident = cuda.residentCodes(codes);
  const out = new Uint16Array(labels * classes);
  const decode = () => {
    const start = performance.now();
    there.decode({ codes: resident, labels: { start: 0, count: labels }, out });
    return (labels / (performance.now() - start)) * 1000;
  };
  decode();
  const speeds = Array.from({ length: 5 }, decode).sort((a, b) => a - b);
  rows.push({
    method,
    labels,
    perSecond: { median: speeds[2], least: speeds[0], most: speeds[4] },
  });
}
writeFileSync(file, JSON.stringify({ operation: 'decode to host memory, float16', rows }));
console.log(
  `equal bytes; ${rows.map(({ method, perSecond }) => `${method} ${Math.round(perSecond.median)}/s`).join(', ')}`,
);
