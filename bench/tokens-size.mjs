// Bytes per token of labels of a real teacher, all files counted, from hidden states that were computed before:
//   node bench/tokens-size.mjs DIR [TOKENS] [HIDDEN_TOKENS]
// DIR has hidden.npy (behind the last norm), head.npy, tokens.npy and lengths.npy: the folder `labelled` of
// bench/token_states.py. Texts are taken from the first on until they have TOKENS labels (default: all); HIDDEN_TOKENS of them
// are stored as hidden states at two divergences, too, which takes some milliseconds each (default: none). Labels of all kinds
// are listed from the same logits, which are made once.
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { openTokenLabels } from '#src/interop/open-tokens.js';
import { readOutputHead } from '#src/interop/tokens/output-head.js';
import { loadKernels } from '#src/kernels/load.js';
import { HeadMetric } from '#src/tokens/hidden/head-metric.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { packHidden } from '#src/tokens/hidden/pack-hidden.js';
import { packTokens } from '#src/tokens/pack-tokens.js';

const [, , folder, most = 'Infinity', hiddenMost = '0'] = process.argv;
const KINDS = ['tiny', 'head-tail'];
const KLS = [0.0044, 0.017];
const kernels = loadKernels();
const head = await readOutputHead(join(folder, 'head.npy'));
const { vocabulary, width, weights } = head;
const states = await openTokenLabels({
  ...{ source: join(folder, 'hidden.npy'), from: 'hidden', vocabulary },
  ...{ tokens: join(folder, 'tokens.npy'), lengths: join(folder, 'lengths.npy') },
});

/** The first texts, with hidden states. */
function beginning(limit) {
  return {
    vocabulary,
    async *sequences(signal) {
      let taken = 0;
      for await (const own of states.sequences(signal)) {
        if (taken >= limit) return;
        taken += own.rows;
        yield own;
      }
    },
  };
}

/** Logits that were asked for last: kinds that are packed side by side ask for the same ones. */
const made = new Map();
function logitsOf(own, start, count) {
  const key = `${own.name} ${start} ${count}`;
  const known = made.get(key);
  if (known !== undefined) return known;
  if (made.size > 8) made.delete(made.keys().next().value);
  const logits = own.labels.read(start, count).then(async (a) => {
    const out = new Float32Array(count * vocabulary);
    const shape = { rows: count, inner: width, columns: vocabulary, transposeB: true };
    await kernels.projectAsync({ a: a.slice(), b: weights, out, ...shape, threads: 1 });
    return out;
  });
  made.set(key, logits);
  return logits;
}

function withLogits(source) {
  return {
    vocabulary,
    async *sequences(signal) {
      for await (const own of source.sequences(signal)) {
        const read = (start, count) => logitsOf(own, start, count);
        yield { ...own, labels: { kind: 'logits', width: vocabulary, read } };
      }
    },
  };
}

async function sizes(archive) {
  let [all, codes] = [0, 0];
  for (const name of await readdir(archive)) {
    const { size } = await stat(join(archive, name));
    all += size;
    if (name.startsWith('codes-')) codes += size;
  }
  return { all, codes };
}

function row(name, { all, codes }, tokens, more = '') {
  const cells = [name, (all / tokens).toFixed(2), (codes / tokens).toFixed(2), all - codes];
  console.log(`| ${cells.join(' | ')} | ${more} |`);
}

/** Mean divergence of what was stored from the teacher, its standard error over texts, and the largest. */
async function divergence(source, archive) {
  const metric = new HeadMetric(head, kernels);
  const labels = await openHiddenArchive(archive);
  const means = [];
  let [sum, count, largest, sequence] = [0, 0, 0, 0];
  for await (const own of source.sequences()) {
    const { hidden } = await labels.labels(sequence++);
    const distances = await metric.divergences(
      (await own.labels.read(0, own.rows)).slice(),
      hidden,
    );
    const total = distances.reduce((a, b) => a + b, 0);
    means.push(total / own.rows);
    sum += total;
    count += own.rows;
    largest = distances.reduce((a, b) => Math.max(a, b), largest);
  }
  await labels.close();
  const mean = sum / count;
  const variance = means.reduce((total, own) => total + (own - mean) ** 2, 0) / (means.length - 1);
  return `${mean.toFixed(5)} ± ${Math.sqrt(variance / means.length).toFixed(5)}, largest ${largest.toFixed(3)}`;
}

const work = await mkdtemp(join(os.tmpdir(), 'softpack-tokens-'));
const source = beginning(Number(most));
const begin = process.cpuUsage();
const packed = await Promise.all(
  KINDS.map((name) =>
    packTokens({ source: withLogits(source), out: join(work, name), codec: { name }, kernels }),
  ),
);
const { user, system } = process.cpuUsage(begin);
const [{ labels, sequences }] = packed;
console.log(
  `${os.cpus()[0]?.model.trim()}, Node.js ${process.version}: ${labels} labels of ${sequences} texts, ` +
    `${((user + system) / 1000 / labels).toFixed(2)} ms of processor time each for both kinds`,
);
console.log(
  '\n| kind | bytes per token, all files | codes | other bytes | KL |\n|---|---|---|---|---|',
);
for (const [i, name] of KINDS.entries()) row(name, await sizes(packed[i].out), labels);
for (const kl of Number(hiddenMost) > 0 ? KLS : []) {
  const own = beginning(Number(hiddenMost));
  const out = join(work, `hidden-${kl}`);
  const { labels: count } = await packHidden({ source: own, head, out, kl, kernels });
  row(`hidden, --kl ${kl}, ${count} labels`, await sizes(out), count, await divergence(own, out));
}
await states.close();
await rm(work, { recursive: true });
