// Tables of results, for the terminal and for Markdown.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { machineLine, processorSlug } from './machine.mjs';
import { OPERATIONS, SETTINGS, STREAMS } from './settings.mjs';

/** Rows of one operation, setting and number of threads, fastest first. */
export function resultTable(rows) {
  const [{ op, dh, dc, k, threads }] = rows;
  const title = `${op}, (dh, dc, k) = (${dh}, ${dc}, ${k}), ${threads} thread${threads > 1 ? 's' : ''}`;
  const latency = op === 'decode-one';
  const header = [
    'implementation',
    latency ? 'us a call' : 'labels/s/core',
    '10 % to 90 %',
    'per CPU s',
    'of ceiling',
    'error',
    'largest',
    'batch',
  ];
  const sorted = [...rows].sort((a, b) => b.labelsPerSecond - a.labelsPerSecond);
  const cost = (rate) => (1e6 / rate).toPrecision(3);
  const speed = (rate) => (latency ? cost(rate) : thousands(rate / threads));
  const cells = sorted.map((row) => [
    row.impl,
    speed(row.labelsPerSecond),
    row.spread.map(speed).join(' to '),
    latency ? cost(row.labelsPerCpuSecond) : thousands(row.labelsPerCpuSecond),
    row.ceiling === undefined ? '-' : `${Math.round(100 * row.ofCeiling)} % ${row.ceiling}`,
    digits(row.error) + (row.lessExact ? ' !' : ''),
    digits(row.maxError),
    `${row.batch}`,
  ]);
  return `${title}${dateOf(rows)}\n\n${tableOfRows(sorted, header, cells)}\n`;
}

/** Rows of one operation without settings and one input, fastest first; sizes are bits a value or bytes a label. */
export function streamTable(rows) {
  const [{ op, setting }] = rows;
  const header = ['implementation', 'items/s/core', '10 % to 90 %', 'per CPU s', 'size', 'error'];
  const sorted = [...rows].sort((a, b) => b.labelsPerCpuSecond - a.labelsPerCpuSecond);
  const cells = sorted.map((row) => [
    row.impl,
    thousands(row.labelsPerSecond),
    row.spread.map(thousands).join(' to '),
    thousands(row.labelsPerCpuSecond),
    row.size.toPrecision(3),
    digits(row.error),
  ]);
  return `${op}, ${setting}${dateOf(rows)}\n\n${tableOfRows(sorted, header, cells)}\n`;
}

function dateOf([{ date }]) {
  return date === undefined ? '' : ` (${date})`;
}

/** With a last column of shares of committed speeds, if there are any. */
function tableOfRows(rows, header, cells) {
  if (rows.every(({ ofCommitted }) => ofCommitted === undefined)) return table(header, cells);
  const shares = rows.map(({ ofCommitted }) => ofCommitted?.toFixed(2) ?? '-');
  return table(
    [...header, 'of committed'],
    cells.map((row, i) => [...row, shares[i]]),
  );
}

/** Goal and result for every setting; empty if nothing was measured. */
export function goalTable(goals) {
  const measured = goals.filter(({ cells }) => cells.some(({ reached }) => reached !== undefined));
  if (measured.length === 0) return '';
  const header = [
    'one thread, float32: goal: reached (by processor time)',
    ...SETTINGS.map(({ name }) => `(${name})`),
  ];
  return table(
    header,
    measured.map(({ name, cells }) => [name, ...cells.map(goalCell)]),
  );
}

function goalCell({ goal, unit, reached, byCpuTime, missed }) {
  if (goal === undefined) return '-';
  const number = (value) => `${value < 100 ? value.toPrecision(3) : Math.round(value)}${unit}`;
  if (reached === undefined) return `${goal}${unit}: -`;
  return `${goal}${unit}: ${number(reached)} (${number(byCpuTime)})${missed ? ' <' : ''}`;
}

/** Every goal that was measured and missed, with the limiting unit. */
export function missedGoals(goals) {
  return goals.flatMap(({ name, cells }) =>
    cells.flatMap(({ goal, unit, byCpuTime, missed, ours, rival, limit }, i) => {
      if (!missed) return [];
      const against = rival === undefined ? ours : `${ours} to ${rival}`;
      const share = limit === undefined ? '' : `; at ${limit}`;
      const numbers = `${byCpuTime.toPrecision(3)}${unit} instead of ${goal}${unit}`;
      return [`- ${name} at (${SETTINGS[i].name}): ${numbers} (${against}${share})`];
    }),
  );
}

/** Writes the results of this kind of processor as JSON and Markdown; returns the files. */
export function writeResults(folder, results) {
  mkdirSync(folder, { recursive: true });
  const base = join(folder, processorSlug(results.machine));
  writeFileSync(`${base}.json`, toJson(results));
  writeFileSync(`${base}.md`, markdown(results));
  return [`${base}.json`, `${base}.md`];
}

/** One row per line, as people read and compare files of results, too. */
export function toJson({ rows, ...rest }) {
  const head = JSON.stringify(rest, null, 2).slice(0, -2);
  // No measurement here has more digits.
  const short = (_, value) => (typeof value === 'number' ? Number(value.toPrecision(5)) : value);
  const lines = rows.map((row) => `    ${JSON.stringify(row, short)}`);
  return `${head},\n  "rows": [\n${lines.join(',\n')}\n  ]\n}\n`;
}

function markdown({ machine, command, date, versions, skipped, ceilings, labels, goals, rows }) {
  const missed = missedGoals(goals);
  const list = (items) => items.map((item) => `- ${item}\n`).join('');
  const cases = Object.keys(OPERATIONS).flatMap((op) =>
    SETTINGS.flatMap(({ dc, k }) =>
      [...new Set(rows.map(({ threads }) => threads))].map((threads) =>
        rows.filter(
          (row) => row.op === op && row.dc === dc && row.k === k && row.threads === threads,
        ),
      ),
    ),
  );
  const streams = Object.keys(STREAMS).flatMap((op) => {
    const own = rows.filter((row) => row.op === op);
    const inputs = [...new Set(own.map(({ setting }) => setting))];
    return inputs.map((setting) => own.filter((row) => row.setting === setting));
  });
  return `# Kernels on ${machine.processor}

${machineLine(machine)}. \`${command}\`, ${date}.

${list(versions)}${list(skipped.map((reason) => `left out: ${reason}`))}
${goalTable(goals)}
${missed.length > 0 ? `\nNot reached:\n\n${missed.join('\n')}\n` : ''}
${legend}

## Ceilings a thread, GFLOP/s and GB/s

${ceilingTable(ceilings)}
## Labels

${labelTable(labels ?? {})}
## Results
${cases
  .filter((some) => some.length > 0)
  .map((some) => `\n### ${resultTable(some)}`)
  .join('')}${streams.length === 0 ? '' : `\n${streamLegend}\n`}${streams
  .map((some) => `\n### ${streamTable(some)}`)
  .join('')}`;
}

export const streamLegend =
  'Items are values of entropy-coded blocks and labels of tokens. Sizes are bits a value and bytes a label; errors the ' +
  "share of wrong values, of tokens' labels KL from the exact probabilities in nats, of listed ids the largest of a logarithm.";

export const legend =
  'Median of interleaved samples. Errors against float64, relative: of all checked values, and the largest; of ' +
  'codes, the distance in excess of the nearest. `!`: less exact than the fastest of softpack. `<`: goal not reached, by processor time.';

export function ceilingTable(ceilings) {
  const names = [...new Set(ceilings.flatMap((entry) => Object.keys(entry)))];
  return table(
    names,
    ceilings.map((entry) => names.map((name) => `${entry[name] ?? '-'}`)),
  );
}

export function labelTable(labels) {
  const names = ['perplexity', 'top1', 'top10', 'entries99'];
  const cells = Object.entries(labels).map(([name, row]) => [
    name,
    ...names.map((column) => Number(row[column].toPrecision(3)).toString()),
  ]);
  return table(
    ['labels', 'perplexity / c', 'mass of greatest', 'of ten', 'entries for 99 % / c'],
    cells,
  );
}

function digits(error) {
  return error === 0 ? '0' : error.toExponential(1);
}

function thousands(rate) {
  if (rate >= 1e6) return `${(rate / 1e6).toPrecision(3)} M`;
  return rate >= 1e3 ? `${(rate / 1e3).toPrecision(3)} k` : rate.toPrecision(3);
}

function table(header, rows) {
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i].length)));
  const line = (cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |\n`;
  return line(header) + line(widths.map((width) => '-'.repeat(width))) + rows.map(line).join('');
}
