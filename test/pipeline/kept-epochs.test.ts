import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CODECS } from '#src/codecs/registry.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { choiceForBytes } from '#src/pipeline/archive-size.js';
import { keptEpochs } from '#src/pipeline/kept-epochs.js';
import { openArchive } from '#src/pipeline/open-archive.js';
import { packLogits } from '#src/pipeline/pack.js';
import { syntheticLogits } from '../codecs/labels.js';
import { temporaryDirectory } from '../temporary.js';
import { type AskedSize, askedSizes, expectSize } from './asked-sizes.js';

const directory = await temporaryDirectory();

describe('keptEpochs', () => {
  const kept = (
    classes: number,
    ipc: number,
    epochs: number,
    totalRatio: number,
    most?: number,
  ) => {
    const samples = classes * ipc;
    const full = 2 * classes * samples * epochs;
    const labels = { classes, samples, epochs };
    const choice = { name: 'transform', totalRatio };
    return {
      ...keptEpochs(choice, labels, full, CODECS, most),
      bits: (8 * full) / totalRatio / samples,
    };
  };

  const fits = (classes: number, ipc: number, epochs: number, ratio: number, stored: number) => {
    const samples = classes * ipc;
    const labels = { classes, samples, epochs, storedEpochs: stored < epochs ? stored : undefined };
    const budget = (2 * classes * samples * epochs) / ratio;
    return choiceForBytes('transform', labels, budget, {}, CODECS) !== undefined;
  };

  test.each([
    // Of the students in docs/results.
    [1599, 1, 40, 100, 22],
    [1599, 1, 40, 200, 16],
    [1599, 1, 40, 400, 11],
    [1599, 1, 40, 1000, 7],
    [1599, 1, 40, 2000, 5],
    [546, 1, 40, 400, 7],
    // All from 825 bits per label on, and the root of the share below.
    [1000, 10, 300, 19, 300],
    [1000, 10, 300, 100, 132],
    [1000, 10, 300, 400, 66],
    // Never less than four, whatever is left.
    [546, 1, 40, 2000, 4],
    [100, 10, 3, 20, 3],
  ])('%i classes, %i images, %i epochs at %ix: %i', (classes, ipc, epochs, ratio, expected) => {
    expect(kept(classes, ipc, epochs, ratio).keep).toBe(expected);
  });

  test('costs as much by views that are missed as by bits, and never asks for epochs that are not there', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 100, max: 2000 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 10, max: 300 }),
        fc.integer({ min: 10, max: 500 }),
        fc.integer({ min: 1, max: 300 }),
        (classes, ipc, epochs, ratio, most) => {
          const stored = Math.min(most, epochs);
          const { keep, bits, weighed } = kept(classes, ipc, epochs, ratio, stored);
          expect(keep).toBeGreaterThanOrEqual(1);
          expect(keep).toBeLessThanOrEqual(stored);
          expect(weighed.map((own) => own.epochs)).toContain(keep);
          const loss = (count: number) => (0.15 * epochs) / count + (124 * count) / bits;
          // Flat around the least, where whole numbers are compared.
          // Fewer than the rule wants are kept where more do not fit.
          if (fits(classes, ipc, epochs, ratio, Math.min(keep + 1, stored))) {
            expect(loss(keep)).toBeLessThan(1.002 * loss(Math.min(keep + 1, stored)));
          }
          if (keep > 4) expect(loss(keep)).toBeLessThan(1.02 * loss(keep - 1));
          for (const own of weighed) expect(bits / own.epochs).toBeGreaterThan(own.bitsPerLabel);
        },
      ),
      { numRuns: 20 },
    );
  });

  test('is what packing does where it is asked to, and tells', async () => {
    const shape = { epochs: 40, samples: 60, classes: 40 };
    const source = memoryLabelSource(syntheticLogits(2400, 40), shape);
    const out = directory.path('auto');
    const codec = { name: 'transform', totalRatio: 9 };
    const packed = await packLogits({ source, out, codec, keep: 'auto' });
    expect(packed.ratio.total).toBeGreaterThanOrEqual(9);
    const expected = keptEpochs(codec, shape, 2 * 40 * 60 * 40, CODECS);
    expect(expected.keep).toBeLessThan(40);
    expect(packed).toMatchObject({ epochs: 40, storedEpochs: expected.keep });
    expect(packed.weighed).toEqual(expected.weighed);
    await using archive = await openArchive(out);
    expect(archive.manifest).toMatchObject({ epochs: 40, storedEpochs: expected.keep });
    expect(archive.manifest.request).toMatchObject({ keep: expected.keep });
    // An archive of fewer epochs has no more to choose from.
    const again = directory.path('auto again');
    const repacked = await packLogits({
      ...{ source: out, out: again, keep: 'auto' },
      codec: { name: 'transform', totalRatio: 7 },
    });
    expect(repacked.storedEpochs).toBe(expected.keep);
    const all = directory.path('auto, all');
    expect(await packLogits({ source, out: all, codec, keep: 40 })).toMatchObject({
      storedEpochs: 40,
    });
  });
});

describe('archives are no larger than asked for, or refused with what can be asked for', () => {
  let archives = 0;
  const folder = () => directory.path(`archive ${archives++}`);

  test.each([
    { classes: 33, samples: 60, epochs: 12, ratio: 3, inBytes: false, keep: 'auto', spread: 1 },
    {
      classes: 10,
      samples: 300,
      epochs: 12,
      ratio: 2,
      inBytes: true,
      keep: undefined,
      spread: 100,
    },
    { classes: 2, samples: 1, epochs: 1, ratio: 1.5, inBytes: true, keep: undefined, spread: 0 },
  ] as const)('%o', (size) => expectSize(size, folder));

  test('of a few labels of a few classes', async () => {
    const sizes = askedSizes([2, 3, 10], [1, 2, 7, 60]);
    const run = (size: AskedSize) => expectSize(size, folder);
    await fc.assert(fc.asyncProperty(sizes, run), { numRuns: 4, endOnFailure: true });
  });
});
