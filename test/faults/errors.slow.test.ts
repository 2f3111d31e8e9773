import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { findUntoldErrors } from './errors.js';
import { FaultWorkplace, missingForFaults, todays } from './writers.js';

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;

// Of operations that many a run repeats one of so many, another one every day.
it.for([
  ['pack topk', 1],
  ['cache', 6],
  ['cache topk', 20],
  ['cache topk at once', 10],
  ['pack-images', 3],
] as const)(
  '%s tells of errors at its file operations (1 of %d), and is resumed to the same bytes',
  { timeout: 900_000 },
  async ([name, step], { skip }) => {
    if (place === undefined) return skip(lacking);
    const chosen = todays(step);
    const { tried, faults } = await findUntoldErrors(place, place.writer(name), chosen.of);
    console.log(`${name}: ${tried} errors, ${chosen.named}`);
    expect(faults).toEqual([]);
  },
);
