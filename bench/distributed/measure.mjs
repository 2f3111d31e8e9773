// What the measurements of this folder share: the machine, medians with their spread, results as a file.
import { writeFile } from 'node:fs/promises';
import os from 'node:os';

export function machine() {
  return {
    processor: os.cpus()[0].model,
    cores: os.availableParallelism(),
    node: process.version,
    load: Number(os.loadavg()[0].toFixed(1)),
    date: new Date().toISOString().slice(0, 10),
  };
}

export function describe({ processor, cores, node, load, date }) {
  return `${processor}, ${cores} cores, load ${load}, Node.js ${node}, ${date}`;
}

/** Median and both ends, to four digits. */
export function spreadOf(values) {
  const sorted = values.map((value) => Number(value.toPrecision(4))).sort((a, b) => a - b);
  return { median: sorted[sorted.length >> 1], low: sorted[0], high: sorted.at(-1) };
}

export function shown({ median, low, high }, digits = 0) {
  const [at, from, to] = [median, low, high].map((value) => value.toFixed(digits));
  return `${at} (${from} to ${to})`;
}

/** @param file of JSON; nothing is written without a name. */
export async function keep(file, result) {
  if (file === undefined) return;
  await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
}
