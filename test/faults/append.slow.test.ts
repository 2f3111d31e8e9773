import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { appendWriters, findAppendLosses } from './append.js';
import { FaultWorkplace, missingForFaults } from './writers.js';

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;
const writers = place === undefined ? [] : await appendWriters(place);

it.for([0, 1, 2, 3])(
  'append %i, killed at any file operation, leaves a whole archive',
  { timeout: 900_000 },
  async (i, { skip }) => {
    if (place === undefined) return skip(lacking);
    const { tried, losses } = await findAppendLosses(place, writers[i], (all) => all, 'freeze');
    expect(losses).toEqual([]);
    expect(tried).toBeGreaterThan(10);
  },
);
