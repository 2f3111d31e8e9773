// Entropy coding of blocks as the transform codec writes them.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RansTables } from '#src/kernels/rans.js';
import { LinePeer } from './line-peer.mjs';
import { python, randomSequence } from './tools.mjs';

const ROWS = 64;
const COLUMNS = 2048;
const COUNT = ROWS * COLUMNS;
/** Crates whose sources the C++ rivals are compiled from. */
const CRATES = { 'ryg-rans-sys': '1.2.0', 'zstd-sys': '2.1.3' };
const CONSTRICTION = '0.5.0';
const FOLDER = dirname(fileURLToPath(import.meta.url));

/** Deviations of components fall like those of labels, from 5 steps to a fifth of one. */
function makeInput() {
  const random = randomSequence(1);
  const spreads = Float64Array.from({ length: ROWS }, (_, j) => 5 * 25 ** (-j / ROWS));
  const values = Int16Array.from({ length: COUNT }, (_, i) => {
    const size = Math.round(-Math.log(1 - random()) * spreads[Math.floor(i / COLUMNS)]);
    return random() < 0.5 ? -size : size;
  });
  const frequencies = new Uint16Array(ROWS * 256);
  for (let j = 0; j < ROWS; j++) {
    frequencies.set(frequenciesOf(values.subarray(j * COLUMNS, (j + 1) * COLUMNS)), 256 * j);
  }
  return { values, frequencies };
}

function frequenciesOf(own) {
  const counts = new Float64Array(256);
  for (const value of own) counts[value + 128]++;
  const frequencies = Uint16Array.from(counts, (count) => Math.ceil((3800 * count) / own.length));
  // Room for the escape symbol, which rivals do not use.
  frequencies[0] += 1;
  frequencies[128] += 4096 - frequencies.reduce((sum, frequency) => sum + frequency, 0);
  return frequencies;
}

/** Everything that the operations `rans-decode` and `rans-encode` of one run share. */
export async function openRans(kernels, { skip }) {
  const input = makeInput();
  const folder = mkdtempSync(join(tmpdir(), 'softpack-ans-'));
  writeFileSync(join(folder, 'values'), bytesOf(input.values));
  writeFileSync(join(folder, 'frequencies'), bytesOf(input.frequencies));
  const sizes = [folder, `${ROWS}`, `${COLUMNS}`];
  const peers = [];
  const versions = [];
  const attempt = (name, open) => {
    try {
      const { peer, version } = open();
      peers.push(peer);
      versions.push(version);
    } catch (error) {
      skip(
        `${name}: ${String(error.stderr || error.message)
          .trim()
          .split('\n')
          .at(-1)}`,
      );
    }
  };
  attempt('ryg_rans and zstd FSE', () => compiledPeer(folder, sizes));
  attempt('constriction', () => constrictionPeer(sizes));
  return {
    ...{ versions, setting: '64 x 2048 values' },
    count: COUNT,
    size: ({ bytes }) => (8 * bytes) / COUNT,
    contenders: async (op) => [
      ...softpackRans(kernels, op, input),
      ...(await Promise.all(peers.map((peer) => peer.contenders(op, COUNT)))).flat(),
    ],
    async close() {
      for (const peer of peers) await peer.close();
      rmSync(folder, { recursive: true });
    },
  };
}

function softpackRans(kernels, op, { values, frequencies }) {
  return [1, 4].flatMap((trellis) => {
    const contexts = trellis === 1 ? 1 : 2;
    const rowTables = Uint16Array.from({ length: contexts * ROWS }, (_, i) => i / contexts);
    const tables = new RansTables(frequencies);
    const model = { tables, rowTables, trellis, columns: COLUMNS };
    return [8, 32].map((lanes) => {
      const encode = () => kernels.encodeRans({ ...model, values, lanes });
      const bytes = encode();
      const out = new Int16Array(COUNT);
      const decode = () => kernels.decodeRans({ ...model, bytes, out });
      return {
        impl: `softpack ${trellis === 1 ? 'plain' : 'trellis of 4'}, ${lanes} lanes`,
        ...{ side: 'softpack', batches: [COUNT], work: op === 'rans-encode' ? encode : decode },
        check: () => {
          out.fill(0);
          decode();
          const wrong = out.reduce((sum, value, i) => sum + (value === values[i] ? 0 : 1), 0);
          return { bytes: bytes.length, error: wrong / COUNT };
        },
        bound: 0,
      };
    });
  });
}

function compiledPeer(folder, sizes) {
  const crates = fetchCrates(folder);
  const zstd = join(crates['zstd-sys'], 'zstd', 'lib');
  const ryg = join(crates['ryg-rans-sys'], 'vendor');
  const program = join(folder, 'ans');
  const sources = [
    'common/entropy_common.c',
    'common/fse_decompress.c',
    'common/error_private.c',
    'compress/fse_compress.c',
    'compress/hist.c',
  ].map((file) => join(zstd, file));
  const flags = [
    '-O3',
    '-march=native',
    '-fpermissive',
    '-w',
    `-I${join(zstd, 'common')}`,
    `-I${ryg}`,
  ];
  const { CC: cc = 'cc', CXX: cxx = 'c++' } = process.env;
  const stdio = ['ignore', 'ignore', 'pipe'];
  const objects = sources.map((source, i) => {
    const object = join(folder, `${i}.o`);
    run(cc, [...flags.filter((flag) => flag !== '-fpermissive'), '-c', source, '-o', object], {
      stdio,
    });
    return object;
  });
  const link = ['-std=c++17', ...flags, join(FOLDER, 'ans.cc'), ...objects, '-o', program];
  run(cxx, link, { stdio });
  const versions = Object.entries(CRATES).map(([name, version]) => `${name} ${version}`);
  return {
    peer: new LinePeer(program, sizes),
    version: `${versions.join(', ')} (sources, by ${cxx})`,
  };
}

/** Folders of the pinned crates' sources, by name. */
function fetchCrates(folder) {
  const project = join(folder, 'crates');
  mkdirSync(join(project, 'src'), { recursive: true });
  writeFileSync(join(project, 'src', 'lib.rs'), '');
  const pins = Object.entries(CRATES).map(([name, version]) => `${name} = "=${version}"\n`);
  const head =
    '[package]\nname = "rivals"\nversion = "0.0.0"\nedition = "2021"\n\n[dependencies]\n';
  writeFileSync(join(project, 'Cargo.toml'), head + pins.join(''));
  const args = [
    'metadata',
    '--format-version',
    '1',
    '--manifest-path',
    join(project, 'Cargo.toml'),
  ];
  const output = run('cargo', args, { encoding: 'utf8', maxBuffer: 2 ** 27, stdio: 'pipe' });
  const { packages } = JSON.parse(output);
  const folderOf = (name) => dirname(packages.find((own) => own.name === name).manifest_path);
  return Object.fromEntries(Object.keys(CRATES).map((name) => [name, folderOf(name)]));
}

function constrictionPeer(sizes) {
  const { program, versionOf } = python();
  const found = versionOf('constriction');
  if (found !== CONSTRICTION) {
    throw new Error(`${program} has ${found ?? 'none'}: pip install constriction==${CONSTRICTION}`);
  }
  const peer = new LinePeer(program, [join(FOLDER, 'constriction_peer.py'), ...sizes]);
  return { peer, version: `constriction ${found}` };
}

function run(program, args, options) {
  // A compiler's name may have a launcher before it.
  const [command, ...first] = program.split(' ');
  return execFileSync(command, [...first, ...args], options);
}

function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
