import fc from 'fast-check';
import { test } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { type AskedSize, askedSizes, expectSize } from './asked-sizes.js';

const directory = await temporaryDirectory();

test('archives of any shape are no larger than asked for, or refused with what can be asked for', async () => {
  let archives = 0;
  const folder = () => directory.path(`archive ${archives++}`);
  const run = (size: AskedSize) => expectSize(size, folder);
  const sizes = askedSizes([2, 3, 10, 33, 120], [1, 2, 7, 60, 300]);
  await fc.assert(fc.asyncProperty(sizes, run), { numRuns: 40, endOnFailure: true });
}, 120_000);
