import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { findLosses } from './kills.js';
import { FaultWorkplace, missingForFaults } from './writers.js';

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;

it.for([
  'pack topk',
  'pack vqae',
  'cache',
  'cache topk',
  'cache topk at once',
  'cache transform at once',
  'pack-images',
  'pack-images jpeg',
])(
  '%s, killed before and inside every file operation, is resumed to the same bytes',
  { timeout: 900_000 },
  async (name, { skip }) => {
    if (place === undefined) return skip(lacking);
    const { tried, losses } = await findLosses(place, place.writer(name), (all) => all, 'freeze');
    console.log(`${name}: killed ${tried} times`);
    expect(losses).toEqual([]);
  },
);
