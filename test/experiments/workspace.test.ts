import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { experiments } from '#apps/experiments/cells.js';
import { FULL, QUICK } from '#apps/experiments/recipe.js';
import { BusyStep, Workspace } from '#apps/experiments/workspace.js';

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-steps-'));
});

afterAll(() => rm(dir, { recursive: true }));

test('a step is computed once for its parameters, by any run', async () => {
  let computed = 0;
  const compute = async () => ({ value: ++computed });
  const first = new Workspace(dir);
  expect(await first.step('pack', { ratio: 40 }, compute)).toEqual({ value: 1 });
  const second = new Workspace(dir);
  expect(await second.step('pack', { ratio: 40 }, compute)).toEqual({ value: 1 });
  expect(await second.step('pack', { ratio: 20 }, compute)).toEqual({ value: 2 });
  expect(await second.step('student', { ratio: 40 }, compute)).toEqual({ value: 3 });
});

test('a step that failed, or was cut off while it was written, is computed again', async () => {
  const workspace = new Workspace(dir);
  const fail = () => workspace.step('fails', {}, () => Promise.reject(new Error('stopped')));
  await expect(fail()).rejects.toThrow('stopped');
  await writeFile(join(dir, 'steps', `${workspace.key('fails', {})}.json.tmp`), '{"kind":');
  expect(await workspace.step('fails', {}, async () => 5)).toBe(5);
  expect((await readdir(join(dir, 'steps'))).filter((name) => name.endsWith('.tmp'))).toEqual([]);
});

test('two at the same step: one computes it, the other is told to come back', async () => {
  const [first, second] = [new Workspace(dir), new Workspace(dir)];
  let finish = (_: number) => {};
  const computing = first.step('shared', {}, () => new Promise<number>((done) => (finish = done)));
  await vi.waitFor(() => readFile(join(dir, 'steps', `${first.key('shared', {})}.claim`)));
  for (const other of [first, second]) {
    await expect(other.step('shared', {}, async () => -1)).rejects.toThrow(BusyStep);
  }
  finish(5);
  expect(await computing).toBe(5);
  expect(await second.step('shared', {}, async () => -1)).toBe(5);
  expect(await leftovers()).toEqual([]);
});

test('the step of another process is busy until that process is gone', async () => {
  const workspace = new Workspace(dir);
  const claim = join(dir, 'steps', `${workspace.key('foreign', {})}.claim`);
  await writeFile(claim, String(process.ppid));
  await expect(workspace.step('foreign', {}, async () => 1)).rejects.toThrow(BusyStep);
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  for (const gone of [child.pid, process.pid]) {
    await writeFile(claim, String(gone));
    await workspace.exclusive(workspace.key('foreign', {}), async () => {});
  }
  expect(await workspace.step('foreign', {}, async () => 1)).toBe(1);
  expect(await leftovers()).toEqual([]);
});

async function leftovers(): Promise<string[]> {
  return (await readdir(join(dir, 'steps'))).filter((name) => !name.endsWith('.json'));
}

test.each([FULL, QUICK])('$name: every experiment has what it is compared with', (scale) => {
  for (const { name, cells } of experiments(scale)) {
    expect(cells.length).toBeGreaterThan(0);
    const pruned = cells.filter(({ method }) => method === 'LPLD');
    for (const { ratio, set, student } of pruned) {
      const rival = cells.find(
        (cell) =>
          cell.method.startsWith('VQAE') &&
          cell.ratio === ratio &&
          cell.student === student &&
          cell.set.ipc === set.ipc &&
          cell.set.family === set.family,
      );
      expect(rival, `${name} ${ratio}x`).toBeDefined();
    }
  }
});
