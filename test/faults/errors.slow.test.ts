import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { findUntoldErrors } from './errors.js';
import { FaultWorkplace, missingForFaults } from './writers.js';

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;

it.for(['pack topk', 'cache topk', 'pack-images'])(
  '%s tells of an error at every file operation, and is resumed to the same bytes',
  { timeout: 900_000 },
  async (name, { skip }) => {
    if (place === undefined) return skip(lacking);
    const { tried, faults } = await findUntoldErrors(place, place.writer(name), (all) => all);
    console.log(`${name}: ${tried} errors`);
    expect(faults).toEqual([]);
  },
);
