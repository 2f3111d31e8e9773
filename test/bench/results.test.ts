import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const load = (name: string) => import(new URL(`../../bench/kernels/${name}`, import.meta.url).href);
const { committedResults, merged, ofCommitted, standing } = await load('committed.mjs');
const { methodChoices } = await load('goals.mjs');

const machine = { processor: 'Some CPU', family: '25', model: '17' };
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-results-'));
});

afterAll(() => rm(dir, { recursive: true }));

function row(impl: string, method: string, speed: number) {
  return {
    ...{ op: 'decode', dc: 5, k: 1024, threads: 1, side: 'softpack', out: 'float32', impl, method },
    ...{ labelsPerSecond: speed, labelsPerCpuSecond: speed },
  };
}

test('a method that is too slow is a wrong choice, whichever precision measured it', () => {
  const rows = [row('softpack fastest', 'fixed', 79), row('softpack latent', 'latent', 100)];
  expect(methodChoices(rows)).toMatchObject([{ wrong: true }]);
  expect(methodChoices(rows)[0].text).toContain('fixed, 0.79 of latent');
  const twice = [...rows, row('softpack fast', 'fixed', 81)];
  expect(methodChoices(twice)).toMatchObject([{ wrong: false }]);
  expect(methodChoices(rows.slice(1))).toEqual([]);
});

test('a run is compared with committed results of its kind, and added to them case by case', async () => {
  expect(standing(committedResults(dir, machine), undefined)[0]).toMatch(/^no committed results/);
  const known = {
    ...{ date: '2026-01-01', versions: ['old'], ceilings: [{ threads: 1, L2: 50 }], labels: {} },
    rows: [row('softpack fast', 'fixed', 50), { ...row('softpack fast', 'fixed', 7), dc: 25 }],
  };
  await writeFile(join(dir, 'some-cpu-25-17.json'), JSON.stringify(known));
  const committed = committedResults(dir, machine);
  expect(standing(committed, { L2: 100 })[1]).toContain('L2 2.00');
  const run = {
    ...{ date: '2026-02-02', versions: ['new'], skipped: [], ceilings: [], labels: {} },
    rows: [row('softpack fast', 'fixed', 100), row('softpack exact', 'table', 30)],
  };
  expect(run.rows.map((own) => ofCommitted(own, committed))).toEqual([2, undefined]);
  const { rows, versions, ceilings } = merged(run, committed);
  const dated = rows.map((own: { date: string; labelsPerSecond: number }) => [
    own.date,
    own.labelsPerSecond,
  ]);
  expect(dated).toEqual([
    ['2026-02-02', 100],
    ['2026-02-02', 30],
    ['2026-01-01', 7],
  ]);
  expect(versions).toEqual(['new', 'old']);
  expect(ceilings).toEqual(known.ceilings);
});
