import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { ONLINE, RENORMALISED } from '#apps/experiments/tokens/methods.js';
import { type Table2, writeTable2 } from '#apps/experiments/tokens/report.js';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const run = (command: string) => ({ command, machine: 'here', backend: 'tensorflow' });
const LABELS = [10, 20];

function row(method: string, kl: readonly (readonly [seed: number, of: number])[], rouge = [0]) {
  const judged = kl.map(([seed, of]) => {
    const each = LABELS.map((labels) => of * labels);
    return { seed, kl: each, nll: each };
  });
  return { method, base: ONLINE, judged, rouge: rouge.map((seed) => ({ seed, scores: [0, 1] })) };
}

const table = (command: string, rows: Table2['rows']): Table2 => ({
  ...{ runs: [run(command)], facts: ['two texts'], texts: 'a', labels: LABELS, rows },
});

async function written(out: string, tables: readonly Table2[]): Promise<Table2> {
  for (const own of tables) await writeTable2(out, own);
  return JSON.parse(await readFile(`${out}/results.json`, 'utf8'));
}

test('a run adds to what earlier runs of the same texts found', async () => {
  const first = row(ONLINE, [
    [0, 1],
    [1, 2],
  ]);
  const earlier = table('first', [first, row('12 sampled', [[0, 3]])]);
  const now = table('second', [row(RENORMALISED, [[1, 5]]), row(ONLINE, [[1, 7]], [1])]);
  const { runs, rows } = await written(temporary.path('added'), [earlier, now]);
  expect(runs.map(({ command }) => command)).toEqual(['second', 'first']);
  // In the table's own order, whatever was measured when.
  expect(rows).toEqual([
    row(
      ONLINE,
      [
        [0, 1],
        [1, 7],
      ],
      [0, 1],
    ),
    row(RENORMALISED, [[1, 5]]),
    row('12 sampled', [[0, 3]]),
  ]);
  const others = await written(temporary.path('others'), [earlier, { ...now, texts: 'b' }]);
  expect(others.rows).toEqual(now.rows);
  const recipe = await written(temporary.path('recipe'), [earlier, { ...now, facts: ['others'] }]);
  expect(recipe.runs).toEqual(now.runs);
});

test('results on disk are added to, and started anew with other texts', async () => {
  const out = temporary.path('results');
  const line = async () => {
    const text = await readFile(`${out}/results.md`, 'utf8');
    return text.split('\n').find((own) => own.startsWith(`| ${RENORMALISED}`));
  };
  await writeTable2(out, table('first', [row(ONLINE, [[0, 1]])]));
  await writeTable2(out, table('second', [row(RENORMALISED, [[0, 1.25]])]));
  expect(await line()).toContain('| 0.2500 (0.2500 to 0.2500) | 0.2500 | 1.00 |');
  const { runs } = JSON.parse(await readFile(`${out}/results.json`, 'utf8')) as Table2;
  expect(runs).toEqual([run('second'), run('first')]);
  await writeTable2(out, { ...table('third', [row(RENORMALISED, [[0, 2]])]), texts: 'b' });
  expect(await line()).toContain('| 2.0000 | - |');
});
