// What a shard of a job costs beside its labels: the wall and processor time of `cache run` beyond label and encode, and its
// calls of the store.
//   node bench/distributed/overhead.mjs [--labels 524288] [--rounds 3] [--latency 30] [--json FILE]
//
// A stand-in for a teacher gives fixed rows of 1,000 logits; they are encoded (14 likeliest classes, 45.5 bytes a label) and
// measured as those of a teacher are: the first piece of a shard, whose codes stand for all others, so that the share of
// the run is of as many labels at the speed of that piece. Round by round in turn: an archive's writer on one machine, the
// rival, a shard an epoch; and a run of a job for one shard, in a folder and in a store whose every call takes `--latency`
// ms longer, as in a bucket. The run's listing of receipts and its probe of the store are counted with its shard. What a
// process needs once is not: its start, the teacher, the look at the images. Medians and both ends.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createArchive } from '#src/archive/create.js';
import { planArchive } from '#src/archive/spec.js';
import { TopKCodec } from '#src/codecs/top-k.js';
import { loadXxh64 } from '#src/container/checksum.js';
import { RandomSequence } from '#src/core/random.js';
import { DivergenceMeter } from '#src/labels/divergence.js';
import { ArchiveProduct } from '#src/pipeline/job/archive-product.js';
import { jobOf, keepJob } from '#src/pipeline/job/record.js';
import { runJob } from '#src/pipeline/job/run.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { chunkOf, encodePiece, piecesOf } from '#src/pipeline/write-archive.js';
import { describe, keep, machine, shown, spreadOf } from './measure.mjs';

const { values } = parseArgs({
  options: {
    labels: { type: 'string', default: String(2 ** 19) },
    rounds: { type: 'string', default: '3' },
    latency: { type: 'string', default: '30' },
    json: { type: 'string' },
  },
});
const [labels, rounds, latency] = [values.labels, values.rounds, values.latency].map(Number);
const CLASSES = 1000;

const random = new RandomSequence(1, 0, 0);
const ROWS = 256;
const rows = Float32Array.from({ length: ROWS * CLASSES }, () => 10 * random.uniform());
const source = {
  ...{ epochs: rounds, samples: labels, classes: CLASSES, dtype: 'F32' },
  async read(epoch, start, count) {
    const logits = new Float32Array(count * CLASSES);
    for (let i = 0; i < count; i++) {
      const row = (epoch + start + i) % ROWS;
      logits.set(rows.subarray(row * CLASSES, (row + 1) * CLASSES), i * CLASSES);
    }
    return logits;
  },
};
const codec = new TopKCodec({ classes: CLASSES, tau: 20, k: 14, values: 'logits', rest: 'zero' });
const spec = {
  ...{ classes: CLASSES, samples: labels, epochs: rounds, tau: 20 },
  grid: { epochs: 1, samples: labels },
  codec: codec.parts(),
  layout: codec.layout,
  decoding: codec.decoding,
  augmentation: null,
};

/** Wall and processor time, ms: of all threads, since the last call. */
function clock() {
  let wall = performance.now();
  let cpu = process.cpuUsage();
  return () => {
    const used = process.cpuUsage(cpu);
    const spent = [performance.now() - wall, (used.user + used.system) / 1000];
    wall = performance.now();
    cpu = process.cpuUsage();
    return spent;
  };
}

/** Gives a shard to `add`; returns what its labels and codes alone took, and how many of them were made. */
async function makeShard(epoch, add) {
  const meter = new DivergenceMeter(CLASSES);
  const split = clock();
  const [first, ...others] = piecesOf(epoch, [0, labels], spec.grid, chunkOf(codec, CLASSES));
  const codes = await encodePiece(source, codec, first, meter);
  const alone = split();
  await add(first, codes);
  for (const piece of others) {
    await add(piece, codes.subarray(0, Math.ceil((piece.count * codec.bitsPerLabel) / 8)));
  }
  return { alone, made: first.count, sums: meter.sums() };
}

/** A job whose labels are the stand-in's. */
async function planned(folder, calls, callMs) {
  const stores = counted(await openJobStores(folder), calls, callMs);
  const content = { kind: 'stand-in', softpack: 'bench' };
  await keepJob(stores, jobOf(content, {}, {}), {});
  const xxh64 = await loadXxh64();
  const plan = planArchive(spec, xxh64);
  const last = {};
  const encoder = {
    async encode({ epochs: [epoch] }, add) {
      const made = await makeShard(epoch, add);
      Object.assign(last, made);
      return made.sums;
    },
    async [Symbol.asyncDispose]() {},
  };
  const archive = { openEncoder: async () => encoder, measured: () => ({}), dispose() {} };
  const kind = {
    ...{ name: content.kind, unit: 'labels', requireFields() {}, total: () => rounds * labels },
    describe: () => ({ words: '', facts: {} }),
    find: async () => new ArchiveProduct(stores, plan, xxh64, archive),
  };
  const run = (i) => runJob(stores, { kinds: [kind], share: { i, of: rounds } });
  return { run, last };
}

/** Stores that count their calls, by what they are for, and take longer for each. */
function counted({ address, archive, job, receipts }, calls, callMs) {
  const wrap = (store) =>
    new Proxy(store, {
      get(_, name) {
        const own = store[name];
        if (typeof own !== 'function') return own;
        return async (...args) => {
          calls.push(`${name} ${args[0] ?? ''}`);
          if (callMs > 0) await setTimeout(callMs);
          return own.apply(store, args);
        };
      },
    });
  return { address, archive: wrap(archive), job: wrap(job), receipts: wrap(receipts) };
}

/** Calls from the look for the shard on. */
function ofShard(calls) {
  return calls.slice(calls.findIndex((call) => /^open codes-/.test(call)));
}

const work = await mkdtemp(path.join(tmpdir(), 'softpack-bench-'));
try {
  const found = { machine: machine(), shape: { labels, rounds, latency, classes: CLASSES } };
  console.log(`${describe(found.machine)}; shards of ${labels} labels`);
  const all = { writer: [], folder: [], bucket: [] };
  const speeds = [];
  const calls = [];
  const jobs = {
    folder: await planned(path.join(work, 'folder'), calls, 0),
    bucket: await planned(path.join(work, 'bucket'), [], latency),
  };
  const writer = await createArchive(path.join(work, 'writer'), spec);
  let counts = {};
  const timed = async (name, round, make) => {
    const end = clock();
    const { alone, made } = await make(round);
    const [wall, cpu] = end();
    const over = { wall: wall - alone[0], cpu: cpu - alone[1] };
    // Of the processor time, which other work does not stretch: the least that the labels would take.
    const whole = (alone[1] * labels) / made;
    speeds.push((1000 * made) / alone[1]);
    all[name].push({ ...over, share: (100 * over.wall) / (whole + over.wall) });
  };
  for (let round = 0; round < rounds; round++) {
    await timed('writer', round, () =>
      makeShard(round, (piece, codes) => writer.write(piece, { codes })),
    );
    for (const [name, { run, last }] of Object.entries(jobs)) {
      calls.length = 0;
      await timed(name, round, async () => {
        await run(round);
        return last;
      });
      if (name === 'folder') counts = { run: calls.length, shard: ofShard(calls).length };
    }
  }
  await writer.finish();
  await writer.close();
  const NAMES = {
    writer: "one machine's writer",
    folder: 'run, folder',
    bucket: `run, ${latency} ms a call`,
  };
  const table = Object.entries(NAMES).map(([name, text]) => {
    const of = (key) => spreadOf(all[name].map((one) => one[key]));
    const row = { name: text, wall: of('wall'), cpu: of('cpu'), share: of('share') };
    console.log(
      `${text.padEnd(24)}beside labels ${shown(row.wall)} ms a shard, ` +
        `${shown(row.cpu)} ms of processors, ${shown(row.share, 2)} %`,
    );
    return row;
  });
  const speed = spreadOf(speeds);
  console.log(`labels and codes: ${shown(speed)} labels per second of a processor`);
  console.log(`calls of the store: ${counts.run} in a run of one shard, ${counts.shard} a shard`);
  await keep(values.json, { ...found, rows: table, speed, calls: counts });
} finally {
  await rm(work, { recursive: true });
}
