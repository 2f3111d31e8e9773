// Reads labels of an archive of 1.28 million samples whose codec has a base vector of 64 components per sample, with the vectors in
// blocks of 256 samples, next to the same archive with all of them in one stream (the rival, which is how small archives have them):
//   node bench/side-data.mjs [--samples 1280000] [--rounds 3] [--batches 40]
// Synthetic: vectors and labels are drawn (seed 1), not learnt; 100 classes. On Linux. Prints milliseconds (of the clock, and of
// all processors), and MB by which the resident set of a fresh process has grown at its peak: opening, reading one label of a
// mixed view, and shuffled batches of 256 labels by a loader without workers.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  createArchive,
  createLoader,
  loadCodec,
  loadKernels,
  memoryLabelSource,
  openArchive,
  packLogits,
} from 'softpack';
import { encodeMatrix } from '#src/codecs/transform/coded-matrix.js';
import { encodeVectors } from '#src/codecs/transform/vector-blocks.js';
import { joinBlocks, splitBlocks } from '#src/core/blocks.js';
import { loadKernels as loadOwnKernels } from '#src/kernels/load.js';

const self = fileURLToPath(import.meta.url);
const [CLASSES, COMPONENTS] = [100, 64];
const { values } = parseArgs({
  options: {
    samples: { type: 'string', default: '1280000' },
    rounds: { type: 'string', default: '3' },
    batches: { type: 'string', default: '40' },
    child: { type: 'string' },
  },
});
if (values.child === undefined) await main();
else await child(values.child, Number(values.batches));

/** Uniform in [-0.5, 0.5): a linear congruential generator (Numerical Recipes). */
function uniform() {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
}

async function main() {
  const folder = mkdtempSync(path.join(tmpdir(), 'softpack-side-'));
  try {
    const samples = Number(values.samples);
    const parts = await smallCodec(path.join(folder, 'small'));
    for (const kind of ['blocks', 'stream']) {
      const out = path.join(folder, kind);
      await writeArchive(out, kind, samples, parts);
      const bytes = readdirSync(out).reduce(
        (sum, name) => sum + statSync(path.join(out, name)).size,
        0,
      );
      const runs = Array.from({ length: Number(values.rounds) }, () => run(out));
      console.log(`${kind}: ${(bytes / 1e6).toFixed(1)} MB`);
      for (const name of Object.keys(runs[0])) {
        const found = runs.map((one) => one[name]).sort((a, b) => a - b);
        const middle = found[found.length >> 1];
        console.log(
          `  ${name}: ${middle.toFixed(1)} (${found[0].toFixed(1)} to ${found.at(-1).toFixed(1)})`,
        );
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(out) {
  const args = [self, '--child', out, '--batches', values.batches];
  return JSON.parse(execFileSync(process.execPath, ['--expose-gc', ...args]));
}

/** Parts of a codec that was learnt from a few labels. */
async function smallCodec(out) {
  const next = uniform();
  const [epochs, samples] = [2, 600];
  const logits = Float32Array.from({ length: epochs * samples * CLASSES }, () => 6 * next());
  const source = memoryLabelSource(logits, { epochs, samples, classes: CLASSES });
  const form = { components: COMPONENTS, bases: false };
  await packLogits({ source, out, tau: 4, codec: { name: 'transform', step: 1, ...form } });
  const archive = await openArchive(out);
  await archive.close();
  return archive.codecParts;
}

async function writeArchive(out, kind, samples, small) {
  // The package is bundled: what is imported from its sources is another copy.
  const kernels = loadOwnKernels();
  const next = uniform();
  const vectors = new Int16Array(COMPONENTS * samples);
  for (let i = 0; i < vectors.length; i++)
    vectors[i] = Math.round(4 * next() * Math.abs(next() + 0.5));
  const config = { ...small.config, bases: samples, views: true, labelsPerBlock: 2048 };
  const blocked = kind === 'blocks' ? { basesPerBlock: 256 } : {};
  const tensors = new Map(small.tensors);
  const u8 = (data) => ({ dtype: 'U8', shape: [data.length], data });
  let side = {};
  if (kind === 'blocks') {
    const { tables, blocks } = encodeVectors(vectors, { ...config, ...blocked }, kernels);
    tensors.set('base_tables', u8(tables.bytes));
    side = { sampleBlocks: blocks };
  } else tensors.set('bases', u8(encodeMatrix(vectors, samples, kernels)));
  const parts = { ...small, config: { ...config, ...blocked }, tensors, ...side };
  const codec = loadCodec(parts, loadKernels());
  const { layout, decoding } = codec;
  const augmentation = {
    ...{ generator: 'philox4x32-10', seed: 3, size: [8, 8], flip: 0.5 },
    crop: { scale: [0.5, 1], ratio: [1, 1] },
    mix: { kind: 'cutmix', probability: 1, alpha: 1 },
  };
  const spec = { classes: CLASSES, samples, epochs: 1, tau: 4, codec: parts, layout, decoding };
  const writer = await createArchive(out, { ...spec, augmentation });
  // The same codes for all blocks: what they say does not matter to the time.
  const blockOf = async (labels) => {
    const logits = Float32Array.from({ length: labels * CLASSES }, () => 6 * next());
    const ids = Uint32Array.from({ length: labels }, (_, i) => i);
    const views = { partner: ids, lambda: new Float32Array(labels).fill(1) };
    const row = await codec.encode(logits, { epoch: 0, samples: ids, augmentation: views });
    return splitBlocks(row)[0];
  };
  const whole = await blockOf(Math.min(samples, 2048));
  const blocks = Array.from({ length: Math.ceil(samples / 2048) }, () => whole);
  if (samples % 2048 > 0) blocks[blocks.length - 1] = await blockOf(samples % 2048);
  await writer.writeRow(0, { codes: joinBlocks(blocks) });
  await writer.finish();
}

/** Most of the resident set so far; `maxRSS` of a child begins with that of its parent. */
function peakBytes() {
  const [, kib] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return 1024 * Number(kib);
}

async function child(folder, batches) {
  globalThis.gc();
  const before = process.memoryUsage().rss;
  const found = {};
  const timed = async (name, work) => {
    const [start, used] = [performance.now(), process.cpuUsage()];
    const result = await work();
    const { user, system } = process.cpuUsage(used);
    found[`${name}, CPU ms`] = (user + system) / 1000;
    found[`${name}, ms`] = performance.now() - start;
    found[`${name}, peak MB`] = (peakBytes() - before) / 1e6;
    return result;
  };
  const archive = await timed('open', () => openArchive(folder));
  await timed('one label', () => archive.labels(0, Uint32Array.of(archive.samples >> 1)));
  await timed('one more', () => archive.labels(0, Uint32Array.of(archive.samples >> 2)));
  const loader = createLoader({ archive, batchSize: 256, workers: 0, seed: 1 });
  await timed(`${batches} shuffled batches of 256`, async () => {
    let count = 0;
    for await (const _ of loader) if (++count === batches) break;
  });
  await loader.close();
  await archive.close();
  console.log(JSON.stringify(found));
}
