// One row of an archive on a server, and many processes that read it.
//   node bench/distributed/remote-row.mjs [--latency 30] [--rounds 5] [--samples 1281167] [--processes 4] [--json FILE]
//
// A row of `--samples` labels of 45 bytes (57.7 MB, ImageNet at 40 times), by http and by S3's client, the opening of its
// shard included; against the same bytes fetched as ranges of 8 MiB one after the other, and by curl at once. Then what the
// first label of a shard costs, and the next. Then `--processes` that read the row at the same moment, with and without
// the cache of the machine. Every answer of the server waits `--latency` ms. Sources take turns, round by round, after one
// that warms up; medians and both ends.
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { createArchive, openArchive, openStore } from 'softpack';
import { describe, keep, machine, shown, spreadOf } from './measure.mjs';
import { startServer } from './range-server.mjs';

const { values } = parseArgs({
  options: {
    latency: { type: 'string', default: '30' },
    rounds: { type: 'string', default: '5' },
    samples: { type: 'string', default: '1281167' },
    processes: { type: 'string', default: '4' },
    json: { type: 'string' },
    read: { type: 'string' },
    cache: { type: 'string' },
  },
});
const [latency, rounds, samples, processes] = [
  values.latency,
  values.rounds,
  values.samples,
  values.processes,
].map(Number);
const LABEL_BYTES = 45;
const REQUEST_BYTES = 2 ** 23;
const CACHE_BYTES = 2 ** 34;

if (values.read === undefined) await main();
else await readRow(values.read, values.cache);

async function main() {
  const work = await mkdtemp(path.join(tmpdir(), 'softpack-bench-'));
  // The server asks for none, S3's client does.
  process.env.AWS_ACCESS_KEY_ID ??= 'none';
  process.env.AWS_SECRET_ACCESS_KEY ??= 'none';
  const folder = path.join(work, 'archive');
  let server;
  try {
    await writeArchive(folder);
    server = await startServer(folder, latency);
    const found = { machine: machine(), shape: { latency, rounds, samples, processes } };
    console.log(describe(found.machine));
    const row = await oneRow(server, work, folder);
    const opening = await labelsOfShard(server);
    const together = await byMany(server, work);
    await keep(values.json, { ...found, rows: row, opening, together });
  } finally {
    server?.stop();
    await rm(work, { recursive: true });
  }
}

async function writeArchive(folder) {
  const writer = await createArchive(folder, {
    ...{ classes: 1000, samples, epochs: 1, tau: 20, grid: { epochs: 1, samples } },
    codec: { name: 'bench', config: {}, tensors: new Map(), sampleTensors: new Map() },
    layout: { kind: 'fixed', bitsPerLabel: 8 * LABEL_BYTES },
    decoding: 'none',
    augmentation: { generator: 'none', seed: 1, mix: { kind: 'none' } },
  });
  const words = new Uint32Array(Math.ceil((samples * LABEL_BYTES) / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 2654435761);
  await writer.writeRow(0, { codes: new Uint8Array(words.buffer, 0, samples * LABEL_BYTES) });
  await writer.finish();
  await writer.close();
}

async function oneRow(server, work, folder) {
  const { address } = server;
  const file = (await readdir(folder)).find((name) => name.startsWith('codes-'));
  const { size } = await stat(path.join(folder, file));
  const url = `${address}/${file}`;
  const cache = { folder: path.join(work, 'cache'), bytes: CACHE_BYTES };
  const archiveAt = (open) => async () => {
    const archive = await openArchive(await open());
    return { read: () => archive.readRow(0), close: () => archive.close() };
  };
  const s3 = { endpoint: address };
  const sources = {
    'softpack, http': archiveAt(() => openStore(address, { cache: false })),
    'softpack, http, empty cache': archiveAt(async () => {
      await rm(cache.folder, { recursive: true, force: true });
      return openStore(address, { cache });
    }),
    'softpack, S3': archiveAt(() => openStore('s3://bucket/labels', { s3, cache: false })),
    'fetch, 8 MiB ranges one by one': async () => ({ read: () => fetchSerially(url, size) }),
    'curl, the file at once': async () => ({
      read: () => promisify(execFile)('curl', ['-sf', '-o', '/dev/null', url]),
    }),
  };
  console.log(`a row of ${(size / 1e6).toFixed(1)} MB, each answer after ${latency} ms`);
  const found = new Map(Object.keys(sources).map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, prepare] of Object.entries(sources)) {
      const { read, close } = await prepare();
      await server.reset();
      const start = performance.now();
      await read();
      const ms = performance.now() - start;
      if (round >= 0) found.get(name).push({ ms, ...(await server.counts()) });
      await close?.();
    }
  }
  return [...found].map(([name, all]) => {
    const ms = spreadOf(all.map((one) => one.ms));
    const { requests, bytes } = all[0];
    console.log(`${name.padEnd(32)}${shown(ms)} ms, ${requests} GETs, ${bytes} bytes`);
    return { name, ms, requests, bytes };
  });
}

async function fetchSerially(url, size) {
  const into = new Uint8Array(size);
  for (let first = 0; first < size; first += REQUEST_BYTES) {
    const range = `bytes=${first}-${Math.min(size, first + REQUEST_BYTES) - 1}`;
    const answer = await fetch(url, { headers: { range } });
    into.set(new Uint8Array(await answer.arrayBuffer()), first);
  }
}

/** Requests for the first label of a shard, and for one far from it: they differ by the opening of the shard. */
async function labelsOfShard({ address, reset, counts }) {
  const archive = await openArchive(await openStore(address, { cache: false }));
  const requestsFor = async (start) => {
    await reset();
    await archive.readCodes(0, { start, count: 1 });
    return (await counts()).requests;
  };
  const first = await requestsFor(0);
  const next = await requestsFor(samples - 1);
  await archive.close();
  console.log(`first label of a shard: ${first} GETs, another: ${next}`);
  return { first, next, shard: first - next };
}

/** Bytes from the server when many processes read the row at once, against those of its labels. */
async function byMany(server, work) {
  const labels = samples * LABEL_BYTES;
  const found = [];
  for (const [name, cached] of [
    ['one cache', true],
    ['no cache', false],
  ]) {
    const all = [];
    for (let round = 0; round < Math.min(rounds, 3); round++) {
      const cache = path.join(work, `together-${round}`);
      const args = ['--read', server.address, ...(cached ? ['--cache', cache] : [])];
      await server.reset();
      const start = performance.now();
      const readers = Array.from({ length: processes }, () =>
        fork(fileURLToPath(import.meta.url), args),
      );
      const ends = await Promise.all(readers.map((reader) => once(reader, 'exit')));
      if (ends.some(([code]) => code !== 0)) throw new Error('a reader failed');
      const seconds = (performance.now() - start) / 1000;
      all.push({ seconds, ...(await server.counts()) });
      await rm(cache, { recursive: true, force: true });
    }
    const times = spreadOf(all.map(({ seconds }) => seconds));
    const ratio = spreadOf(all.map(({ bytes }) => bytes / labels));
    const requests = spreadOf(all.map((one) => one.requests));
    console.log(
      `${processes} processes, ${name.padEnd(10)} x${shown(ratio, 3)} of the labels' bytes, ` +
        `${shown(requests)} GETs, ${shown(times, 1)} s`,
    );
    found.push({ name, ratio, requests, seconds: times });
  }
  return found;
}

async function readRow(address, folder) {
  const cache = folder === undefined ? false : { folder, bytes: CACHE_BYTES };
  const archive = await openArchive(await openStore(address, { cache }));
  await archive.readRow(0);
  await archive.close();
}
