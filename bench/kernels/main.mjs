// npm run bench: the speed of every kernel and of its rivals at the paper's settings, each with its error.
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { loadKernels } from '#src/kernels/load.js';
import { pin } from './affinity.mjs';
import { measureCase, wrongResults } from './cases.mjs';
import { measureCeilings } from './ceilings.mjs';
import { goalResults } from './goals.mjs';
import { describeLabels } from './label-statistics.mjs';
import { describeMachine, machineLine } from './machine.mjs';
import { parseOptions } from './options.mjs';
import * as report from './report.mjs';
import { loadRivals } from './rivals/load.mjs';
import { softpackContenders } from './softpack.mjs';
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

console.log(machineLine(machine));
console.error('making labels');
const shared = makeLabels(kernels, options);
results.labels = describeLabels(shared);
console.log(`\n${report.labelTable(results.labels)}`);
const workloads = [];
for (const setting of options.settings) {
  console.error(`codec and codes of (${setting.name})`);
  workloads.push(await makeWorkload(kernels, shared, setting, options));
}
for (const threads of options.threads) await measureThreads(threads);
results.goals = goalResults(results.rows);
console.log(report.goalTable(results.goals));
for (const line of report.missedGoals(results.goals)) console.log(line);
console.log(`\n${report.legend}`);
if (options.json !== undefined) writeFileSync(options.json, report.toJson(results));
if (options.results) console.log(report.writeResults(RESULTS, results).join('\n'));

async function measureThreads(threads) {
  const { pinned, reason: unpinned } = pin(threads);
  if (unpinned !== undefined) skip(unpinned);
  console.log(`${threads} thread${threads > 1 ? 's' : ''}${pinned ? ` on ${pinned}` : ''}`);
  const { ceilings, reason } = measureCeilings(threads);
  if (ceilings === undefined) skip(reason);
  else {
    results.ceilings.push({ threads, ...ceilings });
    console.log(`\n${report.ceilingTable([{ threads, ...ceilings }])}`);
  }
  const rivals = await loadRivals({ ...options, threads });
  for (const version of rivals.versions) {
    console.log(version);
    if (!results.versions.includes(version)) results.versions.push(version);
  }
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
      console.log(report.resultTable(rows));
      for (const wrong of wrongResults(rows)) {
        console.log(wrong);
        process.exitCode = 1;
      }
    }
  }
}

function skip(reason) {
  if (results.skipped.includes(reason)) return;
  results.skipped.push(reason);
  console.log(`left out: ${reason}`);
}
