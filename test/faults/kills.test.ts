import { expect, it } from 'vitest';
import { randomStream } from '../kernels/support.js';
import { temporaryDirectory } from '../temporary.js';
import { findLosses } from './kills.js';
import { FaultWorkplace, missingForFaults } from './writers.js';

const SAMPLE = 3;

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;

// A seeded sample of the operations; the slow suite takes all.
it.for(['pack topk', 'cache', 'pack-images'])(
  '%s, killed at some file operations, is resumed to the same bytes',
  async (name, { skip }) => {
    if (place === undefined) return skip(lacking);
    const random = randomStream(name.length);
    const { losses } = await findLosses(
      place,
      place.writer(name),
      (kills) => Array.from({ length: SAMPLE }, () => kills[Math.floor(random() * kills.length)]),
      'kill',
    );
    expect(losses).toEqual([]);
  },
);
