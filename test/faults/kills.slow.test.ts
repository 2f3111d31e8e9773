import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { differences, findLosses } from './kills.js';
import { FaultWorkplace, missingForFaults, treeOf } from './writers.js';

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

/** Every so many operations are enough: each starts a process. */
const STEP = 9;

it.for(['pack topk', 'pack-images'])(
  '%s leaves the same files whether it is killed or all its changes fail from then on',
  { timeout: 900_000 },
  async (name, { skip }) => {
    if (place === undefined) return skip(lacking);
    const writer = place.writer(name);
    const counted = place.freshOut();
    const { operations } = await place.run(writer, counted, { ops: 'change' });
    const found: string[] = [];
    for (let at = 1; at <= operations.length; at += STEP) {
      const cut = operations[at - 1]?.startsWith('write ');
      const [killed, frozen] = [place.freshOut(), place.freshOut()];
      for (const [out, fault] of [
        [killed, cut ? 'cut' : 'kill'],
        [frozen, cut ? 'freeze-cut' : 'freeze'],
      ] as const) {
        await place.run(writer, out, { ops: 'change', fault, at });
      }
      const [one, other] = [killed, frozen].map(comparable);
      found.push(...differences(other, one).map((text) => `${operations[at - 1]}: ${text}`));
    }
    expect(found).toEqual([]);
  },
);

/** Without the lock, which names its process, and the random ends of names of temporary files. */
function comparable(out: string): ReadonlyMap<string, string> {
  const files = [...treeOf(out)].filter(([file]) => !/writer\.lock/.test(file));
  return new Map(files.map(([file, bytes]) => [file.replace(/tmp-[0-9a-f]{16}$/, 'tmp'), bytes]));
}
