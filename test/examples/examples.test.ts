import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../temporary.js';

const temporary = await temporaryDirectory();
const data = temporary.path('data');
const [labels, images] = [`${data}/labels.softpack`, `${data}/images`];

/** Its output; rejects if it fails, or does not end by itself. */
async function run(script: string, ...args: string[]): Promise<string> {
  const path = fileURLToPath(new URL(`../../examples/${script}`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [path, ...args], {
    timeout: 55_000,
  });
  return stdout;
}

beforeAll(async () => {
  expect(await run('make-data.mjs', data)).toMatch(/^576 labels/);
});

/** The numbers after `name` in the output, in order. */
function figures(output: string, name: RegExp): number[] {
  return [...output.matchAll(name)].map((match) => Number(match[1]));
}

describe('examples', () => {
  test('fit a model on the data set: the student learns', async () => {
    const output = await run('fit-dataset.mjs', labels, images);
    const losses = figures(output, /held out ([\d.]+)/g);
    expect(losses.length).toBe(5);
    expect(losses[4]).toBeLessThan(losses[0] / 2);
  });

  test('loop, stop, go on, and lose straight from codes: all the same', async () => {
    const [loop, packed] = await Promise.all([
      run('custom-loop.mjs', labels, images),
      run('packed-loss.mjs', labels, images),
    ]);
    expect(loop).toContain('"epoch":1,"delivered":64');
    const [losses, others] = [loop, packed].map((output) => figures(output, /KL ([\d.]+)/g));
    expect(losses.length).toBe(6);
    expect(losses[5]).toBeLessThan(losses[0] / 4);
    for (const [i, loss] of losses.entries()) expect(others[i]).toBeCloseTo(loss, 2);
  });

  test('swap tf.data for softpack in a few lines', async () => {
    const runs = await Promise.all([
      run('swap/before.mjs', images),
      run('swap/after.mjs', images, labels),
    ]);
    for (const output of runs) {
      const losses = output.trim().split(' ').slice(1).map(Number);
      expect(losses.length).toBe(6);
      expect(losses[5]).toBeLessThan(losses[0] / 2);
    }
    const [before, after] = await Promise.all(
      ['before', 'after'].map(async (name) => {
        const url = new URL(`../../examples/swap/${name}.mjs`, import.meta.url);
        const lines = (await readFile(url, 'utf8')).split('\n');
        return lines.filter((line) => line.trim() !== '' && !line.startsWith('//'));
      }),
    );
    const changed = after.filter((line) => !before.includes(line));
    expect(changed.length).toBeLessThanOrEqual(12);
    expect(after.length).toBeLessThan(before.length);
  });
});
