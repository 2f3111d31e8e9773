// Rewrites the tables of docs/distributed.md from what the measurements here wrote with --json bench/results/distributed-*.json:
//   node bench/distributed/table.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const fileAt = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const resultOf = (name) =>
  JSON.parse(readFileSync(fileAt(`bench/results/distributed-${name}.json`), 'utf8'));
export const DOCS = fileAt('docs/distributed.md');
const BEGIN = '<!-- measured: node bench/distributed/table.mjs -->\n';
const END = '<!-- end of measured -->\n';

/** The text that stands between both marks. */
export function tables() {
  const [row, overhead, shape] = ['remote-row', 'overhead', 'imagenet'].map(resultOf);
  return [...remoteRow(row), '', ...shardCost(overhead), '', ...imagenet(shape), ''].join('\n');
}

function remoteRow({ machine, shape, rows, opening, together }) {
  const [cached, plain] = together;
  const bytes = rows[0].bytes / 1e6;
  return [
    `A row of ${bytes.toFixed(1)} MB on a server whose every answer takes ${shape.latency} ms, opening its shard included (\`remote-row.mjs\`, ` +
      `${shape.rounds} rounds; ${words(machine)}):`,
    '',
    '| way | GETs | ms |',
    '| --- | --- | --- |',
    ...rows.map(({ name, requests, ms }) => `| ${name} | ${requests} | ${span(ms)} |`),
    '',
    `Opening a shard takes ${opening.shard} GET. ${shape.processes} processes that read this row at once through one cache fetch ` +
      `${cached.ratio.median.toFixed(3)} times its bytes in ${cached.requests.median} GETs, and ${plain.ratio.median.toFixed(3)} times without a cache.`,
  ];
}

function shardCost({ machine, shape, rows, speed, calls }) {
  return [
    `What a shard of ${shape.labels.toLocaleString('en')} labels costs beside its labels and their codes (\`overhead.mjs\`, ${shape.rounds} rounds; ` +
      `${words(machine)}), and its share of a run at ${speed.median.toFixed(0)} labels per second of a processor:`,
    '',
    '| way | ms | ms of processors | % of the run |',
    '| --- | --- | --- | --- |',
    ...rows.map(
      ({ name, wall, cpu, share }) =>
        `| ${name} | ${span(wall)} | ${span(cpu)} | ${span(share, 2)} |`,
    ),
    '',
    `A run of one shard calls the store ${calls.run} times, ${calls.shard} of them for the shard itself.`,
  ];
}

function imagenet({ machine, shape, rows, logits, looks }) {
  const { epochs, samples, classes, grid, steps } = shape;
  return [
    `${epochs} epochs of ${samples.toLocaleString('en')} images and ${classes.toLocaleString('en')} classes, rectangles of ${grid}, ${steps} training ` +
      `steps, with a teacher and images that cost next to nothing (\`imagenet.mjs\`; ${words(machine)}):`,
    '',
    '| step | s | s of processors | largest resident set, MiB |',
    '| --- | --- | --- | --- |',
    ...rows.map(
      ({ name, seconds, cpuSeconds, mebibytes }) =>
        `| ${name} | ${seconds} | ${cpuSeconds} | ${mebibytes} |`,
    ),
    '',
    `Full logits of the rectangle would be ${logits} MiB. Each step looks at every file: ` +
      `${looks.map(({ name, microseconds }) => `${span(microseconds, 1)} us by ${name}`).join(', ')}.`,
  ];
}

function words({ processor, cores, load, date }) {
  return `${processor}, ${cores} cores, load ${load} at its start, ${date}`;
}

function span({ median, low, high }, digits = 0) {
  const [at, from, to] = [median, low, high].map((value) => value.toFixed(digits));
  return `${at} (${from} to ${to})`;
}

/** What the docs have there now. */
export function committed(text) {
  const [, rest = ''] = text.split(BEGIN);
  return rest.split(END)[0];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = readFileSync(DOCS, 'utf8');
  const [before, rest] = text.split(BEGIN);
  writeFileSync(DOCS, `${before}${BEGIN}${tables()}${END}${rest.split(END)[1]}`);
}
