// Speed, size and error of labels of tokens, next to fixed-width fields and zstd of the same labels:
//   node bench/tokens.mjs [ROUNDS]
// SOFTPACK_BENCH_PYTHON names a Python with NumPy and pyarrow, for the rivals. Labels are of a seeded stand-in for a
// teacher: logits that fall like Zipf's law, of ids that differ from place to place. Processor time of all threads, so
// that rates are per core; median of the rounds, slowest to fastest.
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { openArchive } from '#src/archive/archive.js';
import { splitBlocks } from '#src/core/blocks.js';
import { loadKernels } from '#src/kernels/load.js';
import { listRows } from '#src/tokens/listed-rows.js';
import { packTokens } from '#src/tokens/pack-tokens.js';
import { locateLabels, readHead } from '#src/tokens/sequence-block.js';
import { openTokenArchive } from '#src/tokens/token-archive.js';
import { TokenCodec } from '#src/tokens/token-codec.js';
import { tokenWindows } from '#src/tokens/windows.js';

const rounds = Number(process.argv[2] ?? 7);
const SEQUENCES = 4;
const LENGTH = 256;
const LABELS = SEQUENCES * LENGTH;
const kernels = loadKernels();
const TOP = 20;

let state = 1;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

function normal() {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Seeded logits of a place in a text: an id's own frequency, noise, and a few ids that fit here. */
function fillLogits(out, seed) {
  state = seed;
  const noise = Float32Array.from({ length: 4096 }, normal);
  const shift = Math.floor(4096 * random());
  for (let id = 0; id < out.length; id++) {
    out[id] = 1.5 * noise[(Math.imul(id, 2654435761) + shift) & 4095] - 0.7 * Math.log(id + 10);
  }
  for (let i = 0; i < 60; i++) out[Math.floor(out.length ** random())] += 3 * random();
}

function sourceOf(vocabulary) {
  const read = (sequence) => async (start, count) => {
    const logits = new Float32Array(count * vocabulary);
    for (let i = 0; i < count; i++) {
      const own = logits.subarray(i * vocabulary, (i + 1) * vocabulary);
      fillLogits(own, 1 + sequence * LENGTH + start + i);
    }
    return logits;
  };
  return {
    vocabulary,
    async *sequences() {
      for (let s = 0; s < SEQUENCES; s++) {
        state = 7919 + s;
        const tokens = Int32Array.from({ length: LENGTH }, () => vocabulary ** random());
        const labels = { kind: 'logits', width: vocabulary, read: read(s) };
        yield { name: `text ${s}`, tokens, first: 0, rows: LENGTH, labels };
      }
    },
  };
}

function summary(rates) {
  rates.sort((a, b) => a - b);
  const shown = [rates[rates.length >> 1], rates[0], rates[rates.length - 1]].map((rate) =>
    rate.toPrecision(3),
  );
  return `${shown[0]} (${shown[1]} to ${shown[2]})`;
}

/** Millions of labels per second of processor time. */
async function measured(work, repeats) {
  const rates = [];
  for (let round = 0; round < rounds; round++) {
    const begin = process.cpuUsage();
    for (let i = 0; i < repeats; i++) await work();
    const { user, system } = process.cpuUsage(begin);
    rates.push((repeats * LABELS) / (user + system));
  }
  return summary(rates);
}

/** Of the large vocabulary only the first and the default: its labels take long to make. */
const KINDS = [
  ['20 ids, values in a byte', { name: 'topk-vq', k: TOP, ordered: 1, stages: 1 }],
  ['topk', { name: 'topk' }],
  ['topk-vq', { name: 'topk-vq' }],
  ['head-tail', { name: 'head-tail' }],
  ['tiny', { name: 'tiny' }],
];

/** KL of the listed head and one bucket for the rest, nats per label: what a label gets wrong of what it tells. */
function bucketKl(exact, k, labels) {
  let sum = 0;
  for (let i = 0; i < LABELS; i++) {
    let [rest, decodedRest] = [1, 1];
    for (let j = 0; j < k; j++) {
      const id = labels.ids[i * labels.width + j];
      const q = labels.probabilities[i * labels.width + j];
      const p = exact[i].get(id);
      sum += p * Math.log(p / q);
      rest -= p;
      decodedRest -= q;
    }
    const left = Math.max(rest, 1e-9);
    sum += left * Math.log(left / Math.max(decodedRest, 1e-9));
  }
  return sum / LABELS;
}

async function measureKind(vocabulary, [title, choice], source, exact) {
  const folder = await mkdtemp(join(os.tmpdir(), 'softpack-tokens-'));
  const out = join(folder, 'archive');
  await packTokens({ source, out, codec: choice });
  const archive = await openArchive(out);
  const blocks = [];
  for (let s = 0; s < SEQUENCES; s++) {
    const { row } = await archive.readCodes(0, { start: s, count: 1 });
    blocks.push(splitBlocks(row)[0]);
  }
  const heads = blocks.map((bytes) => readHead(bytes, vocabulary));
  const text = heads.reduce((sum, { offsetsAt }) => sum + offsetsAt / 8, 0);
  const bytes = (blocks.reduce((sum, block) => sum + block.length, 0) - text) / LABELS;
  const listed = [];
  const codecs = ['cpu', 'reference'].map((backend) =>
    TokenCodec.fromParts(archive.codecParts, loadKernels({ backend })),
  );
  const { width, config } = codecs[0];
  let sequence = 0;
  for await (const own of source.sequences()) {
    listed.push(await listRows(own, vocabulary, { ...config, sequence: sequence++, kernels }));
  }
  const ids = new Int32Array(LABELS * width);
  const probabilities = new Float32Array(LABELS * width);
  for (const [i, codec] of codecs.entries()) {
    const decode = async () => {
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
      for (const own of listed) await codec.encode(own, 0);
    };
    const repeats = i === 0 ? 40 : 2;
    const decoded = await measured(decode, repeats);
    // The reference quantises values in float64, which says nothing of reading and writing bits.
    const encoded =
      i === 0 || config.values === 'float16' ? await measured(encode, repeats / 2) : '';
    const kl = bucketKl(exact, config.k, { ids, probabilities, width }).toFixed(4);
    const name = i === 0 ? title : `${title}, TypeScript`;
    console.log(`| ${name} | ${bytes.toFixed(1)} | ${kl} | ${decoded} | ${encoded} |`);
  }
  await archive.close();
  const windows = await measureWindows(out);
  await rm(folder, { recursive: true });
  return windows;
}

/** Training windows, end to end: files, checksums, texts, labels, masks. */
async function measureWindows(out) {
  const archive = await openTokenArchive(out);
  const rate = await measured(async () => {
    let positions = 0;
    for await (const { tokens } of tokenWindows(archive, { length: 512 }))
      positions += tokens.length;
    if (positions < LABELS) throw Error('windows miss tokens');
  }, 20);
  await archive.close();
  return rate;
}

/** [labels], the probabilities of the most probable ids; files for the rivals. */
async function exactLabels(vocabulary, source, folder) {
  const rows = [];
  const ids = new Uint32Array(LABELS * TOP);
  const logProbs = new Float32Array(LABELS * TOP);
  let sequence = 0;
  for await (const own of source.sequences()) {
    const options = { k: TOP, samples: 0, seed: 0, sequence, kernels };
    const listed = await listRows(own, vocabulary, options);
    ids.set(listed.ids, sequence * LENGTH * TOP);
    logProbs.set(listed.logProbs, sequence * LENGTH * TOP);
    sequence++;
  }
  for (let i = 0; i < LABELS; i++) {
    const own = Array.from(ids.subarray(i * TOP, (i + 1) * TOP), (id, j) => [
      id,
      Math.exp(logProbs[i * TOP + j]),
    ]);
    rows.push(new Map(own));
  }
  await writeFile(join(folder, 'ids'), ids);
  await writeFile(join(folder, 'log-probs'), logProbs);
  return rows;
}

const RIVALS = `
import sys, time, numpy as np, pyarrow as pa
folder, bits, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ids = np.fromfile(folder + '/ids', np.uint32).reshape(-1, ${TOP})
logs = np.fromfile(folder + '/log-probs', np.float32).reshape(-1, ${TOP})
weights = (1 << np.arange(bits, dtype=np.uint32))[::-1]
def pack():
    if bits == 16: packed = ids.astype('<u2').tobytes()
    else: packed = np.packbits((ids[..., None] & weights != 0).reshape(-1)).tobytes()
    return packed, logs.astype(np.float16).tobytes()
def unpack(packed):
    if bits == 16: found = np.frombuffer(packed[0], '<u2').astype(np.uint32)
    else:
        fields = np.unpackbits(np.frombuffer(packed[0], np.uint8), count=ids.size * bits)
        found = fields.reshape(-1, bits) @ weights
    return found.reshape(ids.shape), np.exp(np.frombuffer(packed[1], np.float16).astype(np.float32)).reshape(ids.shape)
zstd = pa.Codec('zstd', compression_level=3)
order = np.argsort(ids, axis=1)
raw = np.take_along_axis(ids, order, 1).astype('<u4').tobytes() + np.take_along_axis(logs, order, 1).astype(np.float16).tobytes()
def compress(): return zstd.compress(raw, asbytes=True)
def decompress(data):
    whole = zstd.decompress(data, len(raw), asbytes=True)
    n = ids.size * 4
    return np.frombuffer(whole[:n], '<u4').reshape(ids.shape), np.exp(np.frombuffer(whole[n:], np.float16).astype(np.float32)).reshape(ids.shape)
assert (unpack(pack())[0] == ids).all()
def rate(work):
    rates = []
    for _ in range(rounds):
        begin = time.process_time()
        for _ in range(10): work()
        rates.append(10 * len(ids) / (time.process_time() - begin) / 1e6)
    rates.sort()
    return ' '.join(('%.3g (%.3g to %.3g)' % (rates[len(rates) // 2], rates[0], rates[-1])).split())
def kl(found):
    p, q = np.exp(logs.astype(np.float64)), found.astype(np.float64)
    rest, other = np.maximum(1 - p.sum(1), 1e-9), np.maximum(1 - q.sum(1), 1e-9)
    return ((p * np.log(p / q)).sum(1) + rest * np.log(rest / other)).mean()
packed, data = pack(), compress()
row = lambda name, size, error, decode, encode: print(f'| {name} | {size / len(ids):.1f} | {error:.4f} | {decode} | {encode} |')
row(f'{bits}-bit ids, float16, NumPy', len(packed[0]) + len(packed[1]), kl(unpack(packed)[1]), rate(lambda: unpack(packed)), rate(pack))
row('zstd -3 of sorted 32-bit ids, float16', len(data), kl(unpack(packed)[1]), rate(lambda: decompress(data)), rate(compress))
`;

const cpu = os.cpus()[0]?.model.trim() ?? 'unknown';
console.log(`${cpu}, Node.js ${process.version}, ${LABELS} labels, ${rounds} rounds`);
for (const vocabulary of [49_152, 262_144]) {
  const source = sourceOf(vocabulary);
  const folder = await mkdtemp(join(os.tmpdir(), 'softpack-tokens-'));
  const exact = await exactLabels(vocabulary, source, folder);
  console.log(
    `\nVocabulary ${vocabulary}; bytes without the text; rates in millions of labels per second\n`,
  );
  console.log('| labels | bytes | KL | decode | encode |\n|---|---|---|---|---|');
  const windows = [];
  const kinds = vocabulary > 2 ** 16 ? KINDS.filter((_, i) => i === 0 || i === 3) : KINDS;
  for (const kind of kinds) {
    windows.push([kind[0], await measureKind(vocabulary, kind, source, exact)]);
  }
  const python = process.env.SOFTPACK_BENCH_PYTHON;
  if (python === undefined) console.log('no rivals: SOFTPACK_BENCH_PYTHON is not set');
  else {
    const args = ['-c', RIVALS, folder, String(Math.ceil(Math.log2(vocabulary))), String(rounds)];
    process.stdout.write(execFileSync(python, args, { encoding: 'utf8' }));
  }
  await rm(folder, { recursive: true });
  console.log(
    '\n| training windows of 512, end to end | millions of tokens per second |\n|---|---|',
  );
  for (const [title, rate] of windows) console.log(`| ${title} | ${rate} |`);
}
