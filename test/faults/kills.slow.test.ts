import { expect, it } from 'vitest';
import { temporaryDirectory } from '../temporary.js';
import { differences, findLosses, wasHit } from './kills.js';
import { FaultWorkplace, missingForFaults, todays, treeOf } from './writers.js';

const lacking = missingForFaults();
const place =
  lacking === undefined ? await FaultWorkplace.create(await temporaryDirectory()) : undefined;

// Writers that go other writers' ways but for a few operations: one of so many, another one every day.
it.for([
  ['pack topk', 1],
  ['pack vqae', 1],
  ['cache', 4],
  ['cache topk', 8],
  ['cache topk at once', 4],
  ['cache transform at once', 6],
  ['pack-images', 1],
  ['pack-images jpeg', 4],
] as const)(
  '%s, killed before and inside file operations (1 of %d), is resumed to the same bytes',
  { timeout: 900_000 },
  async ([name, step], { skip }) => {
    if (place === undefined) return skip(lacking);
    const chosen = todays(step);
    const { tried, losses } = await findLosses(place, place.writer(name), chosen.of, 'freeze');
    console.log(`${name}: killed ${tried} times, ${chosen.named}`);
    expect(losses).toEqual([]);
  },
);

/** Every so many operations are enough: each starts a process. */
const STEP = 9;

it.for(['pack topk', 'pack vqae', 'pack-images'])(
  '%s leaves the same files whether it is killed or all its changes fail from then on',
  { timeout: 900_000 },
  async (name, { skip }) => {
    if (place === undefined) return skip(lacking);
    const writer = place.writer(name);
    const { operations } = await place.run(writer, place.freshOut(), { ops: 'change' });
    expect(operations.length).toBeGreaterThan(STEP);
    const found: string[] = [];
    for (let at = 1; at <= operations.length; at += STEP) {
      const cut = operations[at - 1].startsWith('write ');
      const left: ReadonlyMap<string, string>[] = [];
      for (const [way, fault] of [
        ['kill', cut ? 'cut' : 'kill'],
        ['freeze', cut ? 'freeze-cut' : 'freeze'],
      ] as const) {
        const out = place.freshOut();
        const outcome = await place.run(writer, out, { ops: 'change', fault, at });
        expect(wasHit(outcome, way, at), outcome.err).toBe(true);
        left.push(comparable(out));
      }
      found.push(...differences(left[1], left[0]).map((text) => `${operations[at - 1]}: ${text}`));
    }
    expect(found).toEqual([]);
  },
);

/** The lock names its process; half of a codec's file is half of a report with the speed of training. */
const UNLIKE = /writer\.lock|unfinished-pack\.safetensors\.tmp/;

/** Without what differs between any two runs: random ends of temporary names, and the speed of training. */
function comparable(out: string): ReadonlyMap<string, string> {
  return new Map(
    [...treeOf(out)].map(([file, bytes]) => [
      file.replace(/tmp-[0-9a-f]{16}$/, 'tmp'),
      UNLIKE.test(file) ? 'any' : withoutSpeed(Buffer.from(bytes, 'base64')),
    ]),
  );
}

/** The speed is in a codec's report, and decides that report's length and the file's hash and header. */
function withoutSpeed(bytes: Buffer): string {
  const text = bytes.toString('latin1');
  if (!/"stepsPerSecond":/.test(text)) return text;
  return text
    .slice(8)
    .replace(/"sha256":"[0-9a-f]{64}"/, '')
    .replace(/"state":\{[^}]+\}/, '')
    .replace(/\}\} +/, '}}')
    .replace(/"stepsPerSecond":[^,}]+/, '');
}
