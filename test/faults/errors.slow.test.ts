import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { findUntoldErrors } from './errors.js';
import { FaultWorkplace, missingForFaults } from './writers.js';

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;

// `cache topk` is `cache` and then `pack`: every fifth of its operations is enough.
it.for([
  ['pack topk', 1],
  ['cache', 1],
  ['cache topk', 5],
  ['cache topk at once', 5],
  ['pack-images', 1],
] as const)(
  '%s tells of errors at its file operations (1 of %d), and is resumed to the same bytes',
  { timeout: 900_000 },
  async ([name, step], { skip }) => {
    if (place === undefined) return skip(lacking);
    const { tried, faults } = await findUntoldErrors(place, place.writer(name), (all) =>
      all.filter((_, i) => i % step === 0),
    );
    console.log(`${name}: ${tried} errors`);
    expect(faults).toEqual([]);
  },
);
