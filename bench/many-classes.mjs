// Plans, packs and reads labels of many classes (ImageNet-21K and its winter 2021 selection), each step in its own process.
//   node bench/many-classes.mjs [--classes 10450,21841] [--samples 256] [--epochs 2] [--steps 20] [--reads 1000]
//
// The stand-in for a teacher gives logits with five peaks over noise. Prints seconds and the largest resident set (MiB) of
// each step, for reads also the resident set along the way.
//
// 128 samples x 2 epochs, 2 cores shared with other work (load 7), 2026-11-29, seconds and MiB at 10,450 / 21,841 classes:
// plan 1.7, 94 / 1.6, 110; pack transform 36, 570 / 73, 1990; topk 1.4, 124 / 2.7, 148; vqae (250, 25, 512; 20 steps)
// 44, 584 / 53, 2030; pca 7.6, 583 / 12, 2000; none 1.6, 114 / 1.4, 138. The 1.9 GB are one matrix [classes, classes] of
// floats, whatever the samples. 1,000 epochs read: RSS 126 to 133 / 133 to 138 (topk), 120 to 145 / 146 to 173 (vqae).
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openArchive, packLogits, planLabels } from 'softpack';

const { values } = parseArgs({
  options: {
    classes: { type: 'string', default: '10450,21841' },
    samples: { type: 'string', default: '256' },
    epochs: { type: 'string', default: '2' },
    steps: { type: 'string', default: '20' },
    reads: { type: 'string', default: '1000' },
    step: { type: 'string' },
    out: { type: 'string', default: '' },
  },
});
const CODECS = {
  'pack transform': { name: 'transform', ratio: 40 },
  'pack topk': { name: 'topk', ratio: 40 },
  // Their own parameters: decoders of ratio 40 are larger than all labels of so few samples.
  'pack vqae': { name: 'vqae', dh: 250, dc: 25, k: 512 },
  'pack pca': { name: 'pca', k: 16 },
  'pack none': { name: 'none', store: 'logits' },
};
const [samples, epochs, steps] = [values.samples, values.epochs, values.steps].map(Number);

if (values.step === undefined) main();
else await child(Number(values.classes), values.step, values.out);

function main() {
  for (const classes of values.classes.split(',')) {
    const folder = mkdtempSync(path.join(tmpdir(), 'softpack-classes-'));
    try {
      for (const step of ['plan', ...Object.keys(CODECS), 'read topk', 'read vqae', 'read none']) {
        const out = path.join(folder, step.replace(/^\w+ /, ''));
        const args = [...process.argv.slice(2), '--classes', classes, '--step', step, '--out', out];
        let found;
        try {
          found = execFileSync(process.execPath, [fileURLToPath(import.meta.url), ...args]);
        } catch (error) {
          found = `failed: ${String(error.stderr)
            .split('\n')
            .find((text) => /Error: /.test(text))}`;
        }
        console.log(`${classes} classes, ${step.padEnd(16)}${String(found).trim()}`);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
}

async function child(classes, step, out) {
  const start = performance.now();
  let note = '';
  if (step === 'plan')
    planLabels({ classes, ipc: 10, epochs: 300, ratio: 40, imageBytes: 13_600, batch: 64 });
  else if (step.startsWith('read')) note = await readMany(out);
  else {
    const { ratio, divergence } = await packLogits({
      ...{ source: sourceOf(classes), out, codec: CODECS[step], training: { steps } },
    });
    note = `x${ratio.codes.toFixed(0)} by codes, x${ratio.total.toFixed(1)} in total, KL ${divergence.kl.toFixed(4)}`;
  }
  const seconds = (performance.now() - start) / 1000;
  const rss = process.resourceUsage().maxRSS / 1024;
  console.log(`${seconds.toFixed(1)} s, ${rss.toFixed(0)} MiB ${note}`);
}

function sourceOf(classes) {
  return {
    ...{ epochs, samples, classes, dtype: 'F32' },
    async read(epoch, start, count) {
      const logits = new Float32Array(count * classes);
      let state = (epoch * samples + start + 1) >>> 0;
      for (let i = 0; i < logits.length; i++) {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        logits[i] = (4 * state) / 2 ** 32;
      }
      for (let i = 0; i < count; i++) {
        for (let peak = 0; peak < 5; peak++) {
          logits[i * classes + (((start + i) * 104_729 * (peak + 3)) % classes)] += 20 - 3 * peak;
        }
      }
      return logits;
    },
    close: async () => {},
  };
}

async function readMany(folder) {
  const archive = await openArchive(folder);
  const reads = Number(values.reads);
  const seen = [];
  for (let i = 0; i < reads; i++) {
    if (i % Math.ceil(reads / 5) === 0) seen.push(process.memoryUsage.rss());
    await archive.labels(i % archive.epochs, { start: 0, count: Math.min(16, samples) });
    await archive.readRow(i % archive.epochs);
  }
  seen.push(process.memoryUsage.rss());
  await archive.close();
  return `RSS ${seen.map((bytes) => (bytes / 2 ** 20).toFixed(0)).join(', ')} MiB`;
}
