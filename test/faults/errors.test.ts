import { expect, it } from 'vitest';
import { randomStream } from '../kernels/support.js';
import { temporaryDirectory } from '../temporary.js';
import { findUntoldErrors } from './errors.js';
import { differences } from './kills.js';
import { FaultWorkplace, missingForFaults, treeOf } from './writers.js';

const SAMPLE = 4;

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;

// A seeded sample of the operations; the slow suite takes all.
it.for(['pack topk', 'cache topk', 'pack-images'])(
  '%s tells of errors at some file operations, and is resumed to the same bytes',
  async (name, { skip }) => {
    if (place === undefined) return skip(lacking);
    const random = randomStream(name.length);
    const { faults } = await findUntoldErrors(place, place.writer(name), (all) =>
      Array.from({ length: SAMPLE }, () => all[Math.floor(random() * all.length)]),
    );
    expect(faults).toEqual([]);
  },
);

it.for(['pack topk', 'cache topk', 'pack-images'])(
  '%s gives the same bytes if every write moves only half',
  async (name, { skip }) => {
    if (place === undefined) return skip(lacking);
    const writer = place.writer(name);
    const [whole, halves] = [place.freshOut(), place.freshOut()];
    const { code } = await place.run(writer, whole, { ops: 'all' });
    const outcome = await place.run(writer, halves, { ops: 'change', fault: 'short', at: 0 });
    expect([code, outcome.code, outcome.err]).toEqual([0, 0, expect.any(String)]);
    expect(differences(treeOf(halves), treeOf(whole))).toEqual([]);
  },
);
