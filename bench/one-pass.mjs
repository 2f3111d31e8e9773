// Packs the labels of a stand-in for a teacher while they are made: memory, disk and speed at the shape of ImageNet.
//   node bench/one-pass.mjs [--samples 1300000] [--classes 1000] [--epochs 2] [--ratio 40] [--codec vqae]
//
// The stand-in gives one of 256 fixed rows of logits with five peaks each: its time and memory are not a teacher's.
// Prints the largest resident set, the largest size of the output folder while it was written (next to the bytes that
// two passes would have kept) and labels per second.
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { RandomSequence } from '#src/core/random.js';
import { packLogits } from '#src/pipeline/pack.js';

const { values } = parseArgs({
  options: {
    samples: { type: 'string', default: '1300000' },
    classes: { type: 'string', default: '1000' },
    epochs: { type: 'string', default: '2' },
    ratio: { type: 'string', default: '40' },
    codec: { type: 'string', default: 'vqae' },
    steps: { type: 'string', default: '50' },
  },
});
const [samples, classes, epochs] = [values.samples, values.classes, values.epochs].map(Number);
const folder = mkdtempSync(path.join(tmpdir(), 'softpack-one-pass-'));
const out = path.join(folder, 'archive');

const random = new RandomSequence(1, 0, 0);
const rows = Array.from({ length: 256 }, () =>
  Float32Array.from({ length: classes }, () => 4 * random.uniform()),
);
const source = {
  ...{ epochs, samples, classes, dtype: 'F32' },
  async read(epoch, start, count) {
    const logits = new Float32Array(count * classes);
    for (let i = 0; i < count; i++) {
      const label = (epoch * 7919 + (start + i) * 104_729) >>> 0;
      logits.set(rows[label % rows.length], i * classes);
      for (let peak = 0; peak < 5; peak++) {
        logits[i * classes + ((label * (peak + 3)) % classes)] += 20 - 3 * peak;
      }
    }
    return logits;
  },
  fingerprint: async () => ({ stand: 'in' }),
  async close() {},
  async [Symbol.asyncDispose]() {},
};

let [rss, disk, phase] = [0, 0, ''];
const sizeOf = () => {
  try {
    return readdirSync(out).reduce((sum, name) => sum + statSync(path.join(out, name)).size, 0);
  } catch {
    return 0; // Not there yet, or a file that was just renamed.
  }
};
const look = () => {
  rss = Math.max(rss, process.memoryUsage().rss);
  disk = Math.max(disk, sizeOf());
};
const started = performance.now();
let encoding = started;
try {
  const result = await packLogits({
    ...{ source, out, labels: 'logits', training: { steps: Number(values.steps) } },
    codec: { name: values.codec, ratio: Number(values.ratio) },
    onProgress(progress) {
      if (phase !== progress.phase) encoding = performance.now();
      phase = progress.phase;
      look();
    },
  });
  look();
  const labels = samples * epochs;
  const seconds = (performance.now() - encoding) / 1000;
  console.log(`${cpus()[0].model}, ${cpus().length} processors, Node ${process.version}`);
  console.log(
    `${epochs} x ${samples} labels of ${classes} classes, ${JSON.stringify(result.codec)}`,
  );
  console.log(`largest resident set ${(rss / 1e6).toFixed(0)} MB`);
  console.log(
    `largest size on disk ${(disk / 1e6).toFixed(1)} MB; archive ${(result.bytes.total / 1e6).toFixed(1)} MB, ` +
      `${result.ratio.total.toFixed(1)} times smaller than the ${((2 * labels * classes) / 1e6).toFixed(0)} MB that two passes keep`,
  );
  console.log(
    `${(labels / seconds).toFixed(0)} labels/s encoded and measured, KL ${result.divergence.kl.toExponential(2)}`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
