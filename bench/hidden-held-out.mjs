// Bytes and divergence of hidden states that a codec has not learnt from, codes alone:
//   node bench/hidden-held-out.mjs DIR LEARN TEST EXACT:KL...
// DIR as of bench/tokens-size.mjs. The first LEARN labels are learnt from, the next TEST are coded in groups and decoded again, for each
// number of corrected logits and divergence aimed at, e.g. 6144 512 0:0.0045 16:0.005. Learning takes up to a minute each.
import { join } from 'node:path';
import { openTokenLabels } from '#src/interop/open-tokens.js';
import { readOutputHead } from '#src/interop/tokens/output-head.js';
import { loadKernels } from '#src/kernels/load.js';
import { exactRule } from '#src/tokens/hidden/exact-ids.js';
import { headLogits } from '#src/tokens/hidden/head-logits.js';
import { HIDDEN_GROUP } from '#src/tokens/hidden/hidden-codec.js';
import { learnHidden } from '#src/tokens/hidden/learn.js';
import { divergenceOf } from './divergence-of.mjs';

const [, , folder, learn, test, ...cases] = process.argv;
const kernels = loadKernels();
const head = await readOutputHead(join(folder, 'head.npy'));
const { vocabulary, width } = head;
const states = await readStates(Number(learn) + Number(test));
const known = states.subarray(0, Number(learn) * width);
const others = states.subarray(known.length);

async function readStates(count) {
  const out = new Float32Array(count * width);
  const source = await openTokenLabels({
    ...{ source: join(folder, 'hidden.npy'), from: 'hidden', vocabulary },
    ...{ tokens: join(folder, 'tokens.npy'), lengths: join(folder, 'lengths.npy') },
  });
  let at = 0;
  for await (const { rows, labels } of source.sequences()) {
    if (at === out.length) break;
    const own = await labels.read(0, Math.min(rows, (out.length - at) / width));
    out.set(own, at);
    at += own.length;
  }
  await source.close();
  return out.subarray(0, at);
}

/** Bytes of a group, and the divergence of each of its labels. */
async function coded(group, encoder) {
  const labels = group.length / width;
  const bytes = await encoder.encode(group);
  const { hidden, exact } = encoder.codec.decodeGroup(bytes, labels);
  const p = await headLogits(group, head, kernels);
  const q = await headLogits(hidden, head, kernels);
  for (const [e, id] of exact?.ids.entries() ?? []) {
    q[Math.floor(e / exact.width) * vocabulary + id] += exact.corrections[e];
  }
  const own = (all, i) => all.subarray(i * vocabulary, (i + 1) * vocabulary);
  const distances = Array.from({ length: labels }, (_, i) => divergenceOf(own(p, i), own(q, i)));
  return { bytes: bytes.length, distances };
}

console.log('| exact | kl | bytes per label | KL | largest |\n|---|---|---|---|---|');
for (const [exact, kl] of cases.map((own) => own.split(':').map(Number))) {
  const options = { head, kl, labels: 1_200_000, storeHead: false, kernels };
  const rule = exactRule(exact, vocabulary);
  const encoder = await learnHidden(known.slice(), { ...options, rule });
  let bytes = 0;
  const all = [];
  for (let at = 0; at < others.length; at += HIDDEN_GROUP * width) {
    const found = await coded(others.slice(at, at + HIDDEN_GROUP * width), encoder);
    bytes += found.bytes;
    all.push(...found.distances);
  }
  const mean = all.reduce((a, b) => a + b, 0) / all.length;
  const variance = all.reduce((sum, own) => sum + (own - mean) ** 2, 0) / (all.length - 1);
  const error = Math.sqrt(variance / all.length);
  const cells = [exact, kl, (bytes / all.length).toFixed(1)];
  const largest = all.reduce((a, b) => Math.max(a, b));
  console.log(
    `| ${cells.join(' | ')} | ${mean.toFixed(5)} ± ${error.toFixed(5)} | ${largest.toFixed(3)} |`,
  );
}
