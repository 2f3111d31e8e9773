// npm run bench: the speed of every kernel and of its rivals at the paper's settings, each with its error.
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { loadKernels } from '#src/kernels/load.js';
import { pin } from './affinity.mjs';
import { measureCase, wrongResults } from './cases.mjs';
import { measureCeilings } from './ceilings.mjs';
import { committedResults, merged, ofCommitted, standing, summary } from './committed.mjs';
import { goalResults, methodChoices } from './goals.mjs';
import { describeLabels } from './label-statistics.mjs';
import { describeMachine, machineLine } from './machine.mjs';
import { parseOptions } from './options.mjs';
import * as report from './report.mjs';
import { loadRivals } from './rivals/load.mjs';
import { softpackContenders } from './softpack.mjs';
import { measureStreams } from './streams/main.mjs';
import { makeLabels, makeWorkload } from './workload.mjs';

const RESULTS = fileURLToPath(new URL('../results', import.meta.url));

const options = parseOptions(process.argv.slice(2), os.availableParallelism());
const kernels = loadKernels({ backend: 'cpu' });
const reference = loadKernels({ backend: 'reference' });
const machine = describeMachine(kernels);
const results = {
  machine,
  command: ['npm run bench', ...(options.argv.length > 0 ? ['--', ...options.argv] : [])].join(' '),
  date: new Date().toISOString().slice(0, 10),
  ...{ versions: [], skipped: [], ceilings: [], labels: {}, goals: [], rows: [] },
};

const committed = committedResults(RESULTS, machine);
/** By their number of threads. */
const ceilingsOf = new Map();

console.log(machineLine(machine));
pinTo(1);
for (const line of standing(committed, ceilingsFor(1))) console.log(line);
let shared;
const workloads = [];
if (options.settings.length > 0) await measureLabels();
await measureInputs();
const all = options.results ? merged(results, committed) : results;
all.goals = goalResults(all.rows);
for (const line of methodChoices(results.rows)) {
  console.log(line.text);
  if (line.wrong) process.exitCode = 1;
}
for (const line of summary(results.rows, committed)) console.log(line);
console.log(report.goalTable(all.goals));
for (const line of report.missedGoals(all.goals)) console.log(line);
console.log(`\n${report.legend}`);
if (options.json !== undefined) writeFileSync(options.json, report.toJson(all));
if (options.results) console.log(report.writeResults(RESULTS, all).join('\n'));

async function measureLabels() {
  console.error('making labels');
  shared = makeLabels(kernels, options);
  results.labels = describeLabels(shared);
  console.log(`\n${report.labelTable(results.labels)}`);
  for (const setting of options.settings) {
    console.error(`codec and codes of (${setting.name})`);
    workloads.push(await makeWorkload(kernels, shared, setting, options));
  }
  for (const threads of options.threads) await measureThreads(threads);
}

async function measureInputs() {
  if (options.streams.length === 0) return;
  pinTo(1);
  for await (const rows of measureStreams(kernels, options, { reference, skip, version })) {
    results.rows.push(...rows);
    console.log(`\n${report.streamTable(withShares(rows))}`);
    for (const { op, impl, error, bound } of rows) {
      if (bound === undefined) continue;
      console.log(`WRONG: ${op}, ${impl}: error ${error}, at most ${bound} allowed`);
      process.exitCode = 1;
    }
  }
}

async function measureThreads(threads) {
  const pinned = pinTo(threads);
  console.log(`${threads} thread${threads > 1 ? 's' : ''}${pinned ? ` on ${pinned}` : ''}`);
  const ceilings = ceilingsFor(threads);
  if (ceilings) console.log(`\n${report.ceilingTable([{ threads, ...ceilings }])}`);
  const rivals = await loadRivals({ ...options, threads });
  rivals.versions.forEach(version);
  for (const missing of rivals.reasons) skip(missing);
  console.log();
  try {
    await measureCases({ threads, ceilings }, rivals);
  } finally {
    await rivals.close();
  }
}

async function measureCases({ threads, ceilings }, rivals) {
  const { out } = shared;
  const run = { ...options, threads, ceilings, out, extensions: machine.extensions, skip };
  const sources = [
    (...args) => softpackContenders(kernels, ...args),
    // It has one thread.
    ...(threads === 1 ? [(...args) => softpackContenders(reference, ...args)] : []),
    ...rivals.sources,
  ];
  for (const workload of workloads) {
    for (const op of options.operations(workload.setting)) {
      // One label is one thread's work.
      if (op === 'decode-one' && threads > 1) continue;
      console.error(`${op} (${workload.setting.name})`);
      const rows = await measureCase(op, workload, sources, run);
      if (rows.length === 0) continue;
      results.rows.push(...rows);
      console.log(report.resultTable(withShares(rows)));
      for (const wrong of wrongResults(rows)) {
        console.log(wrong);
        process.exitCode = 1;
      }
    }
  }
}

function withShares(rows) {
  return rows.map((row) => ({ ...row, ofCommitted: ofCommitted(row, committed) }));
}

function pinTo(threads) {
  const { pinned, reason } = pin(threads);
  if (reason !== undefined) skip(reason);
  return pinned;
}

function ceilingsFor(threads) {
  if (!ceilingsOf.has(threads)) {
    const { ceilings, reason } = measureCeilings(threads);
    ceilingsOf.set(threads, ceilings);
    if (ceilings === undefined) skip(reason);
    else results.ceilings.push({ threads, ...ceilings });
  }
  return ceilingsOf.get(threads);
}

function version(line) {
  if (results.versions.includes(line)) return;
  results.versions.push(line);
  console.log(line);
}

function skip(reason) {
  if (results.skipped.includes(reason)) return;
  results.skipped.push(reason);
  console.log(`left out: ${reason}`);
}
