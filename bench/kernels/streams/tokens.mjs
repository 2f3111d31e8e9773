// Labels of language models' tokens: listing the most probable ids of logits, and coding and decoding of labels.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openArchive } from '#src/archive/archive.js';
import { splitBlocks } from '#src/core/blocks.js';
import { listRows } from '#src/tokens/listed-rows.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { locateLabels, readHead } from '#src/tokens/sequence-block.js';
import { TokenCodec } from '#src/tokens/token-codec.js';
import { LinePeer } from './line-peer.mjs';
import { LENGTH, SEQUENCES, tokenSource } from './token-source.mjs';
import { python } from './tools.mjs';

const LABELS = SEQUENCES * LENGTH;
const TOP = 20;
/** Labels whose logits are listed: 26 MB of the larger vocabulary, so that they come from memory. */
const LISTED = 25;
const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), 'token_peer.py');

/** With the most that a label of each kind may diverge from its ids' probabilities, nats. */
const KINDS = [
  ['20 ids, values in a byte', { name: 'topk-vq', k: TOP, ordered: 1, stages: 1 }, 0.5],
  ['topk', { name: 'topk' }, 1e-3],
  ['topk-vq', { name: 'topk-vq' }, 0.05],
  ['head-tail', { name: 'head-tail' }, 0.05],
  ['tiny', { name: 'tiny' }, 0.05],
];
/** Logarithms of probabilities: sums of a vocabulary in float32 lose digits. */
const LISTED_ERROR = 1e-4;

/** Everything that the operations on labels of one vocabulary share. */
export async function openTokens(kernels, { vocabulary, reference, skip }) {
  const folder = await mkdtemp(join(tmpdir(), 'softpack-tokens-'));
  const source = tokenSource(vocabulary);
  const exact = await exactLabels(vocabulary, source, folder, kernels);
  // The larger one takes long to make: its first kind and the default.
  const kinds = vocabulary > 2 ** 16 ? [KINDS[0], KINDS[3]] : KINDS;
  const coders = [];
  for (const kind of kinds)
    coders.push(await openKind(kind, source, folder, exact, [kernels, reference]));
  const peers = {};
  const versions = [];
  try {
    const { program, versionOf } = python();
    const numpy = versionOf('numpy');
    if (numpy === undefined) throw new Error(`${program} has no numpy`);
    const arrow = versionOf('pyarrow');
    if (arrow === undefined) skip(`zstd of tokens' labels: ${program} has no pyarrow`);
    versions.push(`numpy ${numpy}${arrow === undefined ? '' : `, pyarrow ${arrow}`}`);
    for (const op of ['tokens-decode', 'tokens-list']) {
      peers[op] = new LinePeer(program, [SCRIPT, folder, `${vocabulary}`, `${TOP}`, op]);
    }
    peers['tokens-encode'] = peers['tokens-decode'];
  } catch (error) {
    skip(`NumPy on tokens' labels: ${error.message}`);
  }
  const batchOf = (op) => (op === 'tokens-list' ? LISTED : LABELS);
  return {
    ...{ versions, setting: `vocabulary ${vocabulary}` },
    size: ({ bytes }, op) => bytes / batchOf(op),
    contenders: async (op) => [
      ...(op === 'tokens-list'
        ? [lister(kernels, vocabulary, exact)]
        : coders.flatMap((coder) => coder.contenders(op))),
      ...(peers[op] === undefined ? [] : await peers[op].contenders(op, batchOf(op))),
    ],
    async close() {
      for (const peer of new Set(Object.values(peers))) await peer.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** { listed: [sequences], logits: of the first labels, rows: [labels], probabilities by id }; files for the rivals. */
async function exactLabels(vocabulary, source, folder, kernels) {
  const listed = [];
  let logits;
  for await (const own of source.sequences()) {
    logits ??= await own.labels.read(0, LISTED);
    const options = { k: TOP, samples: 0, seed: 0, sequence: listed.length, kernels };
    listed.push(await listRows(own, vocabulary, options));
  }
  const joined = (field, type) => {
    const out = new type(LABELS * TOP);
    for (const [s, rows] of listed.entries()) out.set(rows[field], s * LENGTH * TOP);
    return out;
  };
  const ids = joined('ids', Uint32Array);
  const logProbs = joined('logProbs', Float32Array);
  await writeFile(join(folder, 'ids'), ids);
  await writeFile(join(folder, 'log-probs'), logProbs);
  await writeFile(join(folder, 'logits'), logits);
  const rows = Array.from({ length: LABELS }, (_, i) => {
    const at = (j) => i * TOP + j;
    return new Map(Array.from({ length: TOP }, (_, j) => [ids[at(j)], Math.exp(logProbs[at(j)])]));
  });
  return { logits, logProbs, rows };
}

async function openKind([title, choice, bound], source, folder, exact, backends) {
  const { vocabulary } = source;
  const out = join(folder, title);
  await packTokens({ source, out, codec: choice });
  const archive = await openArchive(out);
  const blocks = [];
  for (let s = 0; s < SEQUENCES; s++) {
    const { row } = await archive.readCodes(0, { start: s, count: 1 });
    blocks.push(splitBlocks(row)[0]);
  }
  const parts = archive.codecParts;
  await archive.close();
  const codecs = backends.map((kernels) => TokenCodec.fromParts(parts, kernels));
  const heads = blocks.map((bytes) => readHead(bytes, codecs[0].textFormat));
  const text = heads.reduce((sum, { offsetsAt }) => sum + offsetsAt / 8, 0);
  const bytes = blocks.reduce((sum, block) => sum + block.length, 0) - text;
  const { width, config } = codecs[0];
  const listed = [];
  for await (const own of source.sequences()) {
    const options = { ...config, sequence: listed.length, kernels: backends[0] };
    listed.push(await listRows(own, vocabulary, options));
  }
  const ids = new Int32Array(LABELS * width);
  const probabilities = new Float32Array(LABELS * width);
  const contender = (codec, i, op) => {
    const decode = () => {
      for (const [s, block] of blocks.entries()) {
        const [from, to] = [s * LENGTH * width, (s + 1) * LENGTH * width];
        const own = {
          ids: ids.subarray(from, to),
          probabilities: probabilities.subarray(from, to),
        };
        codec.decode(block, locateLabels(block, heads[s], 0, LENGTH), own);
      }
    };
    const encode = async () => {
      for (const own of listed) await codec.encode(own);
    };
    return {
      impl: i === 0 ? `softpack ${title}` : `TypeScript ${title}`,
      ...{ side: i === 0 ? 'softpack' : 'reference', batches: [LABELS], bound },
      ...{ rounds: i === 0 ? Infinity : 3, work: op === 'tokens-encode' ? encode : decode },
      check: () => {
        probabilities.fill(Number.NaN);
        decode();
        return { bytes, error: bucketKl(exact.rows, config.k, { ids, probabilities, width }) };
      },
    };
  };
  return {
    contenders: (op) =>
      codecs
        // The reference quantises values in float64, which says nothing of reading and writing bits.
        .slice(0, title === 'head-tail' && op === 'tokens-decode' ? 2 : 1)
        .map((codec, i) => contender(codec, i, op)),
  };
}

/** KL of the listed head and one bucket for the rest, nats per label: what a label gets wrong of what it tells. */
function bucketKl(exact, k, { ids, probabilities, width }) {
  let sum = 0;
  for (let i = 0; i < LABELS; i++) {
    let [rest, decodedRest] = [1, 1];
    for (let j = 0; j < k; j++) {
      const q = probabilities[i * width + j];
      const p = exact[i].get(ids[i * width + j]);
      sum += p * Math.log(p / q);
      rest -= p;
      decodedRest -= q;
    }
    const left = Math.max(rest, 1e-9);
    sum += left * Math.log(left / Math.max(decodedRest, 1e-9));
  }
  return sum / LABELS;
}

function lister(kernels, vocabulary, { logits, logProbs }) {
  const args = {
    ...{ logits, width: vocabulary, vocabulary, k: TOP, samples: 0, uniforms: new Float64Array(0) },
    ids: new Uint32Array(LISTED * TOP),
    drawn: new Uint32Array(0),
    sums: new Float64Array(LISTED),
  };
  return {
    impl: 'softpack',
    ...{ side: 'softpack', batches: [LISTED], bound: LISTED_ERROR },
    work: () => void kernels.listTokens(args),
    check: () => {
      let error = 0;
      for (let i = 0; i < LISTED; i++) {
        const own = logits.subarray(i * vocabulary, (i + 1) * vocabulary);
        const ordered = [...own.keys()].sort((a, b) => own[b] - own[a] || a - b).slice(0, TOP);
        const greatest = own[ordered[0]];
        const total = Math.log(own.reduce((sum, logit) => sum + Math.exp(logit - greatest), 0));
        for (const [j, id] of ordered.entries()) {
          if (args.ids[i * TOP + j] !== id) return { bytes: Number.NaN, error: Number.NaN };
          const known = own[id] - greatest - total;
          error = Math.max(error, Math.abs(logProbs[i * TOP + j] - known));
        }
      }
      return { bytes: LISTED * TOP * 6, error };
    },
  };
}
