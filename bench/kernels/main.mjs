// npm run bench: the speed of every kernel at the paper's settings beside its rivals', each with its error.
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { loadKernels } from '#src/native/index.js';
import { pin } from './affinity.mjs';
import { ceilingOf, measureCeilings } from './ceilings.mjs';
import { goalResults } from './goals.mjs';
import { describeLabels } from './label-statistics.mjs';
import { describeMachine, machineLine } from './machine.mjs';
import { measure } from './measure.mjs';
import { parseOptions } from './options.mjs';
import * as report from './report.mjs';
import { loadOnnx } from './rivals/onnx.mjs';
import { loadPeers } from './rivals/peers.mjs';
import { loadTensorflow } from './rivals/tensorflow.mjs';
import { errorBound } from './settings.mjs';
import { softpackContenders } from './softpack.mjs';
import { CHECKED, verify } from './verify.mjs';
import { makeLabels, makeWorkload } from './workload.mjs';

const RESULTS = fileURLToPath(new URL('../results', import.meta.url));

const options = parseOptions(process.argv.slice(2), os.availableParallelism());
const kernels = loadKernels({ backend: 'cpu' });
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
  console.log(`${threads} thread${threads > 1 ? 's' : ''}: ${pin(threads)}`);
  const { ceilings, reason } = measureCeilings(threads);
  if (ceilings === undefined) skip(reason);
  else {
    results.ceilings.push({ threads, ...ceilings });
    console.log(`\n${report.ceilingTable([{ threads, ...ceilings }])}`);
  }
  const rivals = await loadRivals(threads);
  try {
    for (const workload of workloads) {
      for (const op of options.operations(workload.setting)) {
        // One label is one thread's work.
        if (op === 'decode-one' && threads > 1) continue;
        await measureCase(op, workload, { threads, ceilings, rivals });
      }
    }
  } finally {
    for (const { close } of rivals) await close?.();
  }
}

async function loadRivals(threads) {
  const loaded = [
    await loadOnnx(),
    await loadTensorflow(threads),
    await loadPeers({ threads, compiled: options.compiled }),
  ];
  for (const { version, reason } of loaded) {
    if (version !== undefined && !results.versions.includes(version))
      results.versions.push(version);
    if (version !== undefined) console.log(version);
    if (reason !== undefined) skip(reason);
  }
  console.log();
  return loaded.filter(({ contenders }) => contenders !== undefined);
}

async function measureCase(op, workload, { threads, ceilings, rivals }) {
  const { setting } = workload;
  const name = `${op} (${setting.name}), threads ${threads}`;
  console.error(name);
  const context = {
    ...{ threads, checked: CHECKED, out: shared.out, extensions: machine.extensions },
    skip,
  };
  const reference = loadKernels({ backend: 'reference' });
  const sources = [
    (...args) => softpackContenders(kernels, ...args),
    // It has one thread.
    ...(threads === 1 ? [(...args) => softpackContenders(reference, ...args)] : []),
    ...rivals.map(({ contenders }) => contenders),
  ];
  const opened = [];
  try {
    for (const source of sources) {
      try {
        opened.push(await source(op, workload, context));
      } catch (error) {
        skip(`${name}: ${error.message}`);
      }
    }
    const measured = await measure(
      opened.flatMap(({ contenders }) => contenders),
      {
        ...options,
        onFailure: ({ impl }, error) => skip(`${name}: ${impl}: ${error.message}`),
      },
    );
    const rows = [];
    for (const one of measured) rows.push(await rowOf(op, workload, threads, ceilings, one));
    if (rows.length === 0) return;
    markLessExact(rows);
    reportWrong(rows);
    results.rows.push(...rows);
    console.log(report.resultTable(rows));
  } finally {
    for (const { close } of opened) await close();
  }
}

async function rowOf(op, workload, threads, ceilings, { contender, batch, ...speed }) {
  const { dh, dc, k } = workload.setting;
  const { impl, side, work, out = 'float32' } = contender;
  shared.out.fill(Number.NaN);
  const errors = verify(op, workload, await contender.output(batch));
  const ceiling = ceilingOf(op, workload.setting, work, ceilings, out);
  return {
    ...{ op, dh, dc, k, threads, impl, side, method: work, out, batch, ...speed, ...errors },
    ...(ceiling && {
      ceiling,
      ofCeiling: speed.labelsPerSecond / threads / ceiling.labelsPerSecond,
    }),
  };
}

/** A rival less exact than the fastest of softpack wins or loses another race. */
function markLessExact(rows) {
  const own = rows.filter(({ side, out }) => side === 'softpack' && out === 'float32');
  const fastest = own.sort((a, b) => b.labelsPerSecond - a.labelsPerSecond)[0];
  if (fastest === undefined) return;
  for (const row of rows) {
    if (row.side === 'rival' && row.error > fastest.error) row.lessExact = true;
  }
}

/** A speed with a wrong result is none. */
function reportWrong(rows) {
  for (const { op, impl, side, out, error } of rows) {
    if (side !== 'softpack') continue;
    const bound = errorBound(op, impl, out);
    if (error <= bound) continue;
    process.exitCode = 1;
    console.log(`WRONG: ${op}, ${impl}: error ${error.toExponential(1)}, at most ${bound} allowed`);
  }
}

function skip(reason) {
  if (results.skipped.includes(reason)) return;
  results.skipped.push(reason);
  console.log(`left out: ${reason}`);
}
