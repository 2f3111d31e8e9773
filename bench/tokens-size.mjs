// Bytes per token of labels of a real teacher, all files counted, from hidden states that were computed before:
//   node bench/tokens-size.mjs DIR [TOKENS] [HIDDEN_TOKENS] [EXACT,...] [KL,...]
// DIR has hidden.npy (behind the last norm), head.npy, tokens.npy and lengths.npy: the folder `labelled` of
// bench/token_states.py. Texts are taken from the first on until they have TOKENS labels (default: all; 0: kinds that list ids
// are left out); HIDDEN_TOKENS of them are stored as hidden states, too, which takes some milliseconds each (default: none), with
// EXACT corrected logits at most (default: 0,16) and for the divergences KL (default: 0.0047,0.0175). Labels of all kinds are listed
// from the same logits, which are made once.
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { openTokenLabels } from '#src/interop/open-tokens.js';
import { readOutputHead } from '#src/interop/tokens/output-head.js';
import { loadKernels } from '#src/kernels/load.js';
import { headLogits, logitsOfStates } from '#src/tokens/hidden/head-logits.js';
import { openHiddenArchive } from '#src/tokens/hidden/hidden-archive.js';
import { packHidden } from '#src/tokens/hidden/pack-hidden.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { divergenceOf } from './divergence-of.mjs';

const [, , folder, most = 'Infinity', hiddenMost = '0', exacts = '0,16', kls = '0.0047,0.0175'] =
  process.argv;
const KINDS = ['tiny', 'head-tail', 'sampled'];
const kernels = loadKernels();
const head = await readOutputHead(join(folder, 'head.npy'));
const { vocabulary, width } = head;
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
function remembered(source) {
  const made = new Map();
  const logitsOf = ({ name, labels }, start, count) => {
    const key = `${name} ${start} ${count}`;
    const known = made.get(key);
    if (known !== undefined) return known;
    if (made.size > 8) made.delete(made.keys().next().value);
    const logits = labels.read(start, count);
    made.set(key, logits);
    return logits;
  };
  return {
    vocabulary,
    async *sequences(signal) {
      for await (const own of source.sequences(signal)) {
        const read = (start, count) => logitsOf(own, start, count);
        yield { ...own, labels: { ...own.labels, read } };
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

const PIECE = 64;

/** KL of each label's distribution from the decoded one, by float64 sums. */
async function distancesOf({ rows, labels }, { hidden, exact }) {
  const out = [];
  for (let from = 0; from < rows; from += PIECE) {
    const to = Math.min(from + PIECE, rows);
    const exactStates = (await labels.read(from, to - from)).slice();
    const [p, q] = await Promise.all(
      [exactStates, hidden.slice(from * width, to * width)].map((own) =>
        headLogits(own, head, kernels),
      ),
    );
    for (let i = from; i < to; i++) {
      const own = (all) => all.subarray((i - from) * vocabulary, (i - from + 1) * vocabulary);
      const decoded = own(q);
      for (let e = i * (exact?.width ?? 0); e < (i + 1) * (exact?.width ?? 0); e++) {
        decoded[exact.ids[e]] += exact.corrections[e];
      }
      out.push(divergenceOf(own(p), decoded));
    }
  }
  return out;
}

/** Mean divergence of what was stored from the teacher, its standard error over texts, and the largest. */
async function divergence(source, archive) {
  const labels = await openHiddenArchive(archive);
  const means = [];
  let [sum, count, largest, sequence] = [0, 0, 0, 0];
  for await (const own of source.sequences()) {
    const distances = await distancesOf(own, await labels.labels(sequence++));
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

/** Labels of kinds that list ids. */
async function listedRows(kinds) {
  if (kinds.length === 0) return;
  const begin = process.cpuUsage();
  const logits = remembered(logitsOfStates(source, head, kernels));
  const packed = await Promise.all(
    kinds.map((name) =>
      packTokens({ source: logits, out: join(work, name), codec: { name }, kernels }),
    ),
  );
  const [{ labels, sequences }] = packed;
  console.log(
    `${labels} labels of ${sequences} texts, ${millisecondsOf(begin, labels)} for all kinds`,
  );
  heading();
  for (const [i, name] of kinds.entries()) row(name, await sizes(packed[i].out), labels);
}

async function hiddenRows(counts) {
  if (counts.length > 0) heading();
  const own = beginning(Number(hiddenMost));
  for (const kl of kls.split(',').map(Number)) {
    for (const exact of counts) {
      const out = join(work, `hidden-${kl}-${exact}`);
      const begin = process.cpuUsage();
      const { labels } = await packHidden({ source: own, head, out, kl, exact, kernels });
      const time = millisecondsOf(begin, labels);
      const name = `hidden, --kl ${kl} --exact ${exact}, ${labels} labels`;
      row(name, await sizes(out), labels, `${await divergence(own, out)}; ${time}`);
    }
  }
}

function heading() {
  console.log('\n| kind | bytes per token, all files | codes | other bytes | KL |');
  console.log('|---|---|---|---|---|');
}

function millisecondsOf(begin, labels) {
  const { user, system } = process.cpuUsage(begin);
  return `${((user + system) / 1000 / labels).toFixed(2)} ms of processor time each`;
}

const work = await mkdtemp(join(os.tmpdir(), 'softpack-tokens-'));
const source = beginning(Number(most));
console.log(`${os.cpus()[0]?.model.trim()}, Node.js ${process.version}`);
await listedRows(Number(most) > 0 ? KINDS : []);
await hiddenRows(Number(hiddenMost) > 0 ? exacts.split(',').map(Number) : []);
await states.close();
await rm(work, { recursive: true });
