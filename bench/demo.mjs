// The demo on each backend that is ready, one after the other: a table of times and accuracies.
// Run: node bench/demo.mjs [--dir softpack-demo] [--seed 0] [--json FILE]; prints a Markdown table. 3 to 6 minutes per
// backend on two free cores. The images are installed once, which is not counted.
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { tensorflowStatus } from '../dist/nn/backend/select.js';

const { values: flags } = parseArgs({
  options: {
    dir: { type: 'string', default: 'softpack-demo' },
    seed: { type: 'string', default: '0' },
    json: { type: 'string' },
  },
});

const reports = [];
for (const { name, state, reason } of await tensorflowStatus()) {
  // Plain JavaScript would take days.
  if (name === 'cpu') continue;
  if (state === 'ready') reports.push(await demo(name));
  else console.log(`${name} left out: ${reason}\n`);
}
print(reports);
if (flags.json) await writeFile(flags.json, `${JSON.stringify(reports, null, 2)}\n`);

async function demo(backend) {
  const load = os.loadavg()[0];
  const args = ['dist/cli/main.js', 'demo', '--backend', backend, '--dir', flags.dir];
  const child = spawn(process.execPath, [...args, '--seed', flags.seed], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const status = await new Promise((done) => child.once('close', done));
  if (status !== 0) throw new Error(`the demo by ${backend} ended with ${status}`);
  return { ...JSON.parse(await readFile(join(flags.dir, 'report.json'), 'utf8')), load };
}

function print(all) {
  const { model } = os.cpus()[0];
  console.log(
    `${model}, ${os.availableParallelism()} cores, Node ${process.version}, seed ${flags.seed}\n`,
  );
  console.log(
    '| backend | time, s | load before | top-1 teacher | full labels | archive | label KL | ratio |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
  for (const { backend, seconds, load, top1, kl, ratio } of all) {
    const shares = [top1.teacher, top1.full, top1.archive].map((x) => `${(100 * x).toFixed(1)} %`);
    const cells = [backend, seconds.toFixed(0), load.toFixed(1), ...shares, kl.toExponential(2)];
    console.log(`| ${[...cells, `${ratio.codes.toFixed(1)}x`].join(' | ')} |`);
  }
}
