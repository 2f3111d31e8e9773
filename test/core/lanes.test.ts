import { expect, test } from 'vitest';
import { inLanes } from '#src/core/lanes.js';

test('after a failure no work is begun, and what was begun has ended', async () => {
  const begun: number[] = [];
  const ended: number[] = [];
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const all = inLanes(9, 3, async (i) => {
    begun.push(i);
    if (i === 1) throw new Error('of the second');
    await held;
    ended.push(i);
    if (i === 2) throw new Error('of the third');
  });
  await new Promise(setImmediate);
  release();
  await expect(all).rejects.toThrow('of the second');
  expect([begun, ended]).toEqual([
    [0, 1, 2],
    [0, 2],
  ]);
});

test('all work is done, in order, by as many lanes as there are', async () => {
  const begun: number[] = [];
  let [at, most] = [0, 0];
  await inLanes(7, 3, async (i) => {
    begun.push(i);
    most = Math.max(most, ++at);
    await new Promise(setImmediate);
    at -= 1;
  });
  expect([begun, most]).toEqual([[0, 1, 2, 3, 4, 5, 6], 3]);
  await inLanes(0, 3, () => Promise.reject(new Error('never')));
});
