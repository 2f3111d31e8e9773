// Plans a job of ImageNet's shape, trains its codec and makes its first rectangle: time and memory of each step.
//   node bench/distributed/imagenet.mjs [--samples 1281167] [--classes 1000] [--epochs 300] [--grid 16x2048] [--steps 10]
//     [--rounds 3] [--json FILE]
//
// A list names a few small images as often as there are samples, and the teacher is one matrix: both take next to nothing, so
// that memory is softpack's own; opening a file and decoding it is most of the seconds of codec and run, so views are not
// mixed, which would read twice as many. Each step is a process, as `softpack cache plan`, `codec` and `run` are; told are
// its wall and processor time and its largest resident set, all threads included. Plan looks at every file once, and so does
// each later step: beside it stands the same look by `fs.promises.stat`, 64 at a time, the usual way, on 2^16 files.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describe, keep, machine, shown, spreadOf } from './measure.mjs';
import { DESCRIPTION, writeImages, writeTeacher } from './stand-in.mjs';

const { values } = parseArgs({
  options: {
    samples: { type: 'string', default: '1281167' },
    classes: { type: 'string', default: '1000' },
    epochs: { type: 'string', default: '300' },
    grid: { type: 'string', default: '16x2048' },
    steps: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'string' },
    command: { type: 'string' },
  },
});
if (values.command === undefined) await main();
else await step(JSON.parse(values.command));

async function main() {
  const [samples, classes, epochs, rounds] = [
    values.samples,
    values.classes,
    values.epochs,
    values.rounds,
  ].map(Number);
  const [tall, wide] = values.grid.split('x').map(Number);
  const shards = Math.ceil(epochs / tall) * Math.ceil(samples / wide);
  const work = await mkdtemp(path.join(tmpdir(), 'softpack-bench-'));
  try {
    const teacher = await writeTeacher(work, classes);
    const images = await writeImages(work, samples);
    const description = path.join(work, 'description.json');
    await writeFile(description, JSON.stringify(DESCRIPTION));
    const shape = { samples, classes, epochs, grid: values.grid, steps: Number(values.steps) };
    const found = { machine: machine(), shape };
    console.log(`${describe(found.machine)}; ${epochs} epochs x ${samples} x ${classes}`);
    const job = path.join(work, 'job');
    const kind = ['--teacher', teacher, '--images', images, '--description', description];
    const views = ['-E', values.epochs, '--grid', values.grid, '--cutmix', '0'];
    const codec = ['--ratio', '40', '--steps', values.steps];
    const commands = {
      plan: ['plan', job, ...kind, ...views, ...codec],
      codec: ['codec', job],
      'first rectangle': ['run', job, '--shard', `0/${shards}`],
    };
    const rows = [];
    for (const [name, args] of Object.entries(commands)) {
      const row = { name, ...(await stepOf(args)) };
      console.log(
        `${name.padEnd(16)}${row.seconds} s, ${row.cpuSeconds} s of processors, ${row.mebibytes} MiB`,
      );
      rows.push(row);
    }
    const logits = Math.round((2 * classes * tall * Math.min(wide, samples)) / 2 ** 20);
    console.log(`full logits of the rectangle, counted: ${logits} MiB`);
    const looks = await lookAt(images, rounds);
    await keep(values.json, { ...found, rows, logits, looks });
  } finally {
    await rm(work, { recursive: true });
  }
}

async function stepOf(args) {
  const own = fileURLToPath(import.meta.url);
  const child = fork(own, ['--command', JSON.stringify(['cache', ...args])]);
  const told = once(child, 'message').then(([message]) => message);
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${args[0]} failed`);
  return told;
}

async function step(args) {
  const { run } = await import('#src/cli/run.js');
  const start = performance.now();
  const streams = { stdout: { write() {} }, stderr: process.stderr };
  const code = await run([...args, '--quiet'], { ...streams, signal: AbortSignal.any([]) });
  const { user, system } = process.cpuUsage();
  process.send({
    seconds: Number(((performance.now() - start) / 1000).toFixed(1)),
    cpuSeconds: Number(((user + system) / 1e6).toFixed(1)),
    mebibytes: Math.round(process.resourceUsage().maxRSS / 1024),
  });
  process.disconnect();
  process.exitCode = code;
}

/** Microseconds a file: by a thread between, and without. */
async function lookAt(list, rounds) {
  const names = (await readFile(list, 'utf8'))
    .trimEnd()
    .split('\n')
    .slice(0, 2 ** 16);
  const paths = names.map((name) => path.join(path.dirname(list), name));
  const ways = {
    'fs.promises.stat, 64 at a time': async (some) => Promise.all(some.map((one) => stat(one))),
    'statSync, as plan does': async (some) => some.map((one) => statSync(one)),
  };
  const found = new Map(Object.keys(ways).map((name) => [name, []]));
  for (let round = -1; round < rounds; round++) {
    for (const [name, look] of Object.entries(ways)) {
      const start = performance.now();
      for (let at = 0; at < paths.length; at += 64) await look(paths.slice(at, at + 64));
      if (round >= 0) found.get(name).push((1000 * (performance.now() - start)) / paths.length);
    }
  }
  return [...found].map(([name, all]) => {
    const microseconds = spreadOf(all);
    console.log(`${name.padEnd(32)}${shown(microseconds, 1)} us a file`);
    return { name, microseconds };
  });
}
