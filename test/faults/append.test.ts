import { expect, it } from 'vitest';
import { randomStream } from '../kernels/support.js';
import { temporaryDirectory } from '../temporary.js';
import { appendWriters, findAppendLosses } from './append.js';
import { FaultWorkplace, missingForFaults } from './writers.js';

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;
const writers = place === undefined ? [] : await appendWriters(place);

// A seeded sample of the operations; the slow suite takes all.
it.for([0, 1, 2])(
  'append %i, killed at some file operations, leaves a whole archive',
  async (i, { skip }) => {
    if (place === undefined) return skip(lacking);
    const random = randomStream(i + 3);
    const { losses } = await findAppendLosses(
      place,
      writers[i],
      (all) => [
        all[Math.floor(random() * all.length)],
        all[all.length - 1 - Math.floor(random() * 6)],
      ],
      'kill',
    );
    expect(losses).toEqual([]);
  },
);
