// Opens an archive of 100,000 shards and looks up labels, next to the same shards as a list in JSON (format 1):
//   node bench/shards.mjs [SHARDS]
//
// Prints milliseconds, MB of memory and microseconds per look-up, medians of 5 processes. Only manifest, table and codec
// exist: shards are not read.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { openArchive } from '#src/archive/archive.js';
import { rectangleAt } from '#src/archive/grid.js';
import { makeManifest, manifestBytes } from '#src/archive/manifest.js';
import { encodeShardTable, SHARD_TABLE_FILE } from '#src/archive/shards.js';
import { planArchive } from '#src/archive/spec.js';

const self = fileURLToPath(import.meta.url);
const LOOKUPS = 2000;

if (process.argv[2] === 'child') await child(process.argv[3], process.argv[4]);
else await parent(Number(process.argv[2] ?? 100_000));

async function parent(count) {
  const folder = mkdtempSync(path.join(tmpdir(), 'softpack-shards-'));
  try {
    makeArchive(folder, count);
    console.log(`${count} shards; medians of 5 processes`);
    for (const kind of ['table', 'json']) {
      const runs = Array.from({ length: 5 }, () =>
        JSON.parse(execFileSync(process.execPath, ['--expose-gc', self, 'child', kind, folder])),
      );
      const median = (name) => runs.map((run) => run[name]).sort((a, b) => a - b)[2];
      const cells = ['ms', 'mb', 'us'].map((name) => median(name).toFixed(2));
      console.log(`${kind}: open ${cells[0]} ms, ${cells[1]} MB, look-up ${cells[2]} us`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function makeArchive(folder, count) {
  const codec = { name: 'bench', config: {}, tensors: new Map(), sampleTensors: new Map() };
  const labels = { classes: 1000, samples: 1_281_168, epochs: count, tau: 20, augmentation: null };
  const layout = { kind: 'fixed', bitsPerLabel: 360 };
  const grid = { epochs: 1, samples: 1_281_168 };
  const plan = planArchive({ ...labels, codec, layout, decoding: 'none', grid });
  const digest = (i) => createHash('sha256').update(String(i)).digest('hex');
  const records = Array.from({ length: count }, (_, i) => ({
    ...{ bytes: 57_700_000, sha256: digest(i), indexSha256: digest(-i - 1) },
    ...rectangleAt(grid, plan.identity, i),
  }));
  const table = encodeShardTable(records);
  const sha256 = createHash('sha256').update(table).digest('hex');
  const record = { file: SHARD_TABLE_FILE, bytes: table.length, sha256 };
  writeFileSync(path.join(folder, SHARD_TABLE_FILE), table);
  writeFileSync(path.join(folder, plan.codecFile.record.file), plan.codecFile.bytes);
  const manifest = makeManifest(plan.identity, record);
  writeFileSync(path.join(folder, 'manifest.json'), manifestBytes(manifest));
  writeFileSync(path.join(folder, 'list.json'), JSON.stringify(records, null, 2));
}

async function child(kind, folder) {
  const { readFile } = await import('node:fs/promises');
  // The module and its hashes are loaded once per process, whatever is opened.
  await openArchive(folder).then((archive) => archive.close());
  globalThis.gc();
  const before = process.memoryUsage();
  const start = performance.now();
  const find =
    kind === 'table' ? await openTable(folder) : openList(await readFile(`${folder}/list.json`));
  const ms = performance.now() - start;
  globalThis.gc();
  const after = process.memoryUsage();
  const mb = (after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers) / 1e6;
  let bytes = 0;
  const epochs = await epochsOf(folder);
  const looked = performance.now();
  for (let i = 0; i < LOOKUPS; i++) bytes += find((i * 7919) % epochs).bytes;
  const us = ((performance.now() - looked) * 1000) / LOOKUPS;
  process.stdout.write(JSON.stringify({ ms, mb, us, bytes }));
}

async function epochsOf(folder) {
  const archive = await openArchive(folder);
  return archive.epochs;
}

async function openTable(folder) {
  const { shards } = await openArchive(folder);
  return (epoch) => shards.at(shards.find(epoch, 5));
}

/** Look-up as in format 1, by linear search. */
function openList(bytes) {
  const list = JSON.parse(bytes.toString());
  return (epoch) => list.find(({ epochs }) => epochs[0] <= epoch && epoch < epochs[1]);
}
