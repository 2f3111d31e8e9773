// Tables of results, for the terminal and for Markdown.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { machineLine, processorSlug } from './machine.mjs';
import { GOALS, OPERATIONS, SETTINGS } from './settings.mjs';

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
  const speed = (rate) => (latency ? (1e6 / rate).toPrecision(3) : thousands(rate / threads));
  const cells = sorted.map((row) => [
    row.impl,
    speed(row.labelsPerSecond),
    row.spread.map(speed).join(' to '),
    speed(row.labelsPerCpuSecond * threads),
    row.ceiling === undefined ? '-' : `${Math.round(100 * row.ofCeiling)} % ${row.ceiling.name}`,
    row.error.toExponential(1) + (row.lessExact ? ' !' : ''),
    row.maxError.toExponential(1),
    `${row.batch}`,
  ]);
  return `${title}\n\n${table(header, cells)}\n`;
}

/** What is to be shown: for every goal and setting the ratio asked for and the one reached. */
export function goalResults(rows) {
  return GOALS.map((goal) => ({
    name: goal.name,
    cells: SETTINGS.map((setting, i) => reached(goal, goal.ratios[i], setting, rows)),
  }));
}

function reached(goal, wanted, { dc, k }, rows) {
  const own = rows.filter(
    (row) =>
      row.op === goal.op &&
      row.dc === dc &&
      row.k === k &&
      row.threads === 1 &&
      row.out === 'float32',
  );
  const ours = fastest(own.filter(({ side, impl }) => side === 'softpack' && goal.ours.test(impl)));
  const exactEnough = (row) => row.error <= (goal.rivalError ?? Infinity);
  const rival = fastest(
    own.filter((row) => row.side === 'rival' && goal.rivals.test(row.impl) && exactEnough(row)),
  );
  if (ours === undefined || rival === undefined) return { wanted };
  return {
    ...{ wanted, ratio: ours.labelsPerSecond / rival.labelsPerSecond },
    ...{
      ours: ours.impl,
      rival: rival.impl,
      ofCeiling: ours.ofCeiling,
      ceiling: ours.ceiling?.name,
    },
  };
}

export function goalTable(goals) {
  const header = ['one thread, float32: goal, reached', ...SETTINGS.map(({ name }) => `(${name})`)];
  const cells = goals.map(({ name, cells }) => [
    name,
    ...cells.map(({ wanted, ratio }) =>
      ratio === undefined
        ? `${wanted}x, -`
        : `${wanted}x, ${ratio.toFixed(2)}x${ratio < wanted ? ' <' : ''}`,
    ),
  ]);
  return table(header, cells);
}

/** Every goal that was measured and missed, with what limits it. */
export function missedGoals(goals) {
  return goals.flatMap(({ name, cells }) =>
    cells.flatMap(({ wanted, ratio, ours, rival, ofCeiling, ceiling }, i) => {
      if (ratio === undefined || ratio >= wanted) return [];
      const limit =
        ceiling === undefined ? '' : `; at ${Math.round(100 * ofCeiling)} % of ${ceiling}`;
      return [
        `- ${name} at (${SETTINGS[i].name}): ${ratio.toFixed(2)}x of ${wanted}x (${ours} to ${rival}${limit})`,
      ];
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

/** One row a line: files of results are read and compared by people too. */
export function toJson({ rows, ...rest }) {
  const head = JSON.stringify(rest, null, 2).slice(0, -2);
  return `${head},\n  "rows": [\n${rows.map((row) => `    ${JSON.stringify(row)}`).join(',\n')}\n  ]\n}\n`;
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
  return `# Kernels on ${machine.processor}

${machineLine(machine)}. \`${command}\`, ${date}.

${list(versions)}${list(skipped)}
${goalTable(goals)}
${missed.length > 0 ? `\nNot reached:\n\n${missed.join('\n')}\n` : ''}
${legend}

## Ceilings a thread, GFLOP/s and GB/s

${ceilingTable(ceilings)}
## Labels

${labelTable(labels)}
## Results
${cases
  .filter((some) => some.length > 0)
  .map((some) => `\n### ${resultTable(some)}`)
  .join('')}`;
}

export const legend =
  'Median of interleaved samples. Errors against float64, relative: of all checked values, and the largest; of ' +
  'codes, the distance in excess of the nearest. `!`: less exact than the fastest of softpack. `<`: goal not reached.';

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

function fastest(rows) {
  return rows.reduce(
    (best, row) => (best === undefined || row.labelsPerSecond > best.labelsPerSecond ? row : best),
    undefined,
  );
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
