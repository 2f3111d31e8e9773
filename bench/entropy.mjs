// Speed of entropy coding on blocks as the transform codec writes them, one line per instruction set, next to
// constriction's ANS coder (Python with a Rust core; each component's symbols in one call, its fastest mode):
//   node bench/entropy.mjs [ROUNDS]
// SOFTPACK_BENCH_PYTHON names a Python with constriction and NumPy. Processor time of one thread; median of the
// rounds, fastest to slowest.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadKernels } from '#src/kernels/load.js';
import { RansTables } from '#src/kernels/rans.js';

const COMPONENTS = 64;
const LABELS = 2048;
const rounds = Number(process.argv[2] ?? 15);

let state = 1;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

/** Deviations of components fall like those of labels, from 5 steps to a fifth of one. */
const spreads = Float64Array.from({ length: COMPONENTS }, (_, j) => 5 * 25 ** (-j / COMPONENTS));
const values = Int16Array.from({ length: COMPONENTS * LABELS }, (_, i) => {
  const size = Math.round(-Math.log(1 - random()) * spreads[Math.floor(i / LABELS)]);
  return random() < 0.5 ? -size : size;
});

function frequenciesOf(own) {
  const counts = new Float64Array(256);
  for (const value of own) counts[Math.abs(value) < 128 ? value + 128 : 0]++;
  const frequencies = Uint16Array.from(counts, (count) => Math.ceil((3800 * count) / own.length));
  frequencies[0] += 1;
  frequencies[128] += 4096 - frequencies.reduce((sum, frequency) => sum + frequency, 0);
  return frequencies;
}

const rows = Array.from({ length: COMPONENTS }, (_, j) =>
  frequenciesOf(values.subarray(j * LABELS, (j + 1) * LABELS)),
);
const frequencies = new Uint16Array(COMPONENTS * 256);
for (const [j, row] of rows.entries()) frequencies.set(row, 256 * j);

function measured(work) {
  const rates = [];
  for (let round = 0; round < rounds; round++) {
    const begin = process.cpuUsage();
    for (let i = 0; i < 20; i++) work();
    const { user, system } = process.cpuUsage(begin);
    rates.push((20 * values.length) / (user + system));
  }
  rates.sort((a, b) => a - b);
  return `${Math.round(rates[rounds >> 1])} (${Math.round(rates[0])} to ${Math.round(rates[rounds - 1])})`;
}

function row(name, lanes, bytes, encode, decode) {
  const bits = ((8 * bytes) / values.length).toFixed(3);
  console.log(`| ${name} | ${lanes} | ${bits} | ${decode} | ${encode} |`);
}

function measureSoftpack(trellis) {
  const kernels = loadKernels({ backend: 'cpu' });
  const contexts = trellis === 1 ? 1 : 2;
  const rowTables = Uint16Array.from({ length: contexts * COMPONENTS }, (_, i) => i / contexts);
  const model = { tables: new RansTables(frequencies), rowTables, trellis, columns: LABELS };
  for (const lanes of [1, 8, 32]) {
    const bytes = kernels.encodeRans({ ...model, values, lanes });
    const out = new Int16Array(values.length);
    const decode = measured(() => kernels.decodeRans({ ...model, bytes, out }));
    if (Buffer.compare(Buffer.from(out.buffer), Buffer.from(values.buffer)) !== 0)
      throw Error('wrong');
    const encode = measured(() => kernels.encodeRans({ ...model, values, lanes }));
    row(`softpack ${kernels.isa}, ${trellis} states`, lanes, bytes.length, encode, decode);
  }
}

const RIVAL = `
import sys, time, numpy as np, constriction
folder, components, labels, rounds = sys.argv[1], *map(int, sys.argv[2:])
values = np.fromfile(folder + '/values', np.int16).astype(np.int32).reshape(components, labels)
frequencies = np.fromfile(folder + '/frequencies', np.uint16).reshape(components, 256)
models, symbols = [], []
for own, counts in zip(values, frequencies):
    used = np.flatnonzero(counts)
    models.append(constriction.stream.model.Categorical(counts[used] / 4096, perfect=False))
    symbols.append(np.searchsorted(used, own + 128).astype(np.int32))
def encode():
    coder = constriction.stream.stack.AnsCoder()
    for own, model in zip(reversed(symbols), reversed(models)):
        coder.encode_reverse(own, model)
    return coder.get_compressed()
def decode(words):
    coder = constriction.stream.stack.AnsCoder(words)
    return [coder.decode(model, labels) for model in models]
words = encode()
assert all((a == b).all() for a, b in zip(decode(words), symbols))
for work in (encode, lambda: decode(words)):
    rates = []
    for _ in range(rounds):
        begin = time.process_time()
        for _ in range(5): work()
        rates.append(5 * values.size / (time.process_time() - begin) / 1e6)
    rates.sort()
    print(f'{rates[rounds // 2]:.0f} ({rates[0]:.0f} to {rates[-1]:.0f})')
print(words.nbytes)
`;

async function measureRival() {
  const python = process.env.SOFTPACK_BENCH_PYTHON || 'python3';
  if (spawnSync(python, ['-c', 'import constriction, numpy']).status !== 0) {
    console.log(`| constriction | ${python} has none: pip install constriction numpy | | | |`);
    return;
  }
  const folder = await mkdtemp(join(os.tmpdir(), 'softpack-bench-'));
  try {
    await writeFile(join(folder, 'values'), new Uint8Array(values.buffer));
    await writeFile(join(folder, 'frequencies'), new Uint8Array(frequencies.buffer));
    const sizes = [COMPONENTS, LABELS, rounds].map(String);
    const output = execFileSync(python, ['-c', RIVAL, folder, ...sizes], { encoding: 'utf8' });
    const [encode, decode, bytes] = output.trim().split('\n');
    row('constriction AnsCoder', 1, Number(bytes), encode, decode);
  } finally {
    await rm(folder, { recursive: true });
  }
}

if (process.env.SOFTPACK_ISA === undefined) {
  console.log(`${os.cpus()[0].model}, Node ${process.version}, ${COMPONENTS} x ${LABELS} values\n`);
  console.log('| coder | lanes | bits a value | decoded, M values/s | encoded |');
  console.log('|---|---|---|---|---|');
  const { reason } = (await import('#src/kernels/load.js')).kernelStatus()[0];
  const isas = /available: ([^)]*)/.exec(reason)?.[1]?.split(' ') ?? [];
  for (const isa of isas.filter((name) => ['scalar', 'avx2', 'avx512'].includes(name))) {
    const env = { ...process.env, SOFTPACK_ISA: isa };
    const script = fileURLToPath(import.meta.url);
    execFileSync(process.execPath, [script, String(rounds)], { env, stdio: 'inherit' });
  }
  await measureRival();
} else {
  for (const trellis of [1, 4]) measureSoftpack(trellis);
}
