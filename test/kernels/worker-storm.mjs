// A process of its own, so that an abort shows as an exit code. Workers use the addon all at once; with `terminate`
// as argument they are terminated while busy in it. Prints how many exited.
import { Worker } from 'node:worker_threads';

const terminate = process.argv[2] === 'terminate';
const body = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.module).then(async ({ loadKernels }) => {
    const kernels = loadKernels({ backend: 'cpu' });
    const n = 160;
    const a = new Float32Array(n * n).map((_, i) => (i % 17) - 8);
    const b = new Float32Array(n * n).map((_, i) => (i % 13) - 6);
    const shape = { rows: n, inner: n, columns: n };
    const out = new Float32Array(n * n);
    const vectors = new Float32Array(4000).map((_, i) => i % 7);
    const near = new Uint16Array(800);
    const spec = {
      classes: 200, latent: 20, stages: 4, levels: 16, width: 5, codebookStride: 0, latentStep: 5, bits: 4,
      codebooks: a.subarray(0, 80), basis: b.subarray(0, 4000), head: { kind: 'softmax', tau: 2 },
    };
    const codes = new Uint8Array(1000).map((_, i) => i);
    let checksum = 0;
    const round = (threads) => {
      kernels.project({ a, b, out, ...shape, threads });
      const decoder = kernels.createDecoder(spec);
      const labels = new Float32Array(500 * 200);
      const pending = [
        decoder.decodeAsync({ codes, labels: { start: 0, count: 500 }, out: labels, threads }),
        kernels.nearestAsync({ vectors, codebook: a.subarray(0, 80), out: near, width: 5, threads }),
      ];
      decoder.dispose();
      return Promise.all(pending).then(() => {
        checksum = [...near, ...out.subarray(0, 500), ...labels.subarray(0, 400)].reduce((x, y) => x + y, 0);
        // A wrong call throws in the middle of it all.
        try { kernels.project({ a, b, out, ...shape, rows: 1 }); } catch {}
      });
    };
    parentPort.postMessage('busy');
    if (workerData.terminate) for (let i = 0; ; i++) await round(i % 3);
    for (let i = 0; i < 15; i++) await round(i % 3);
    parentPort.postMessage(checksum);
  });
`;
const module = new URL(import.meta.resolve('#src/kernels/load.js')).href;

async function runWorker() {
  const worker = new Worker(body, { eval: true, workerData: { module, terminate } });
  let result;
  worker.on('error', (error) => {
    throw error;
  });
  worker.on('message', (message) => {
    if (message !== 'busy') result = message;
    else if (terminate) setTimeout(() => worker.terminate(), Math.random() * 30);
  });
  await new Promise((resolve) => worker.once('exit', resolve));
  return result;
}

const results = [];
for (let wave = 0; wave < (terminate ? 10 : 2); wave++) {
  results.push(...(await Promise.all(Array.from({ length: 4 }, runWorker))));
}
console.log(JSON.stringify({ exits: results.length, results: [...new Set(results)] }));
