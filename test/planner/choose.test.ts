import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { predictArchive } from '#src/archive/size.js';
import { CODECS, type CodecChoice } from '#src/codecs/registry.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { packLogits } from '#src/pipeline/pack.js';
import { planForBytes, pruneForBytes, vqaeLevelSet } from '#src/planner/choose.js';
import { syntheticLogits } from '../codecs/labels.js';

const labels = { epochs: 3, samples: 77, classes: 41 };
const logits = syntheticLogits(labels.epochs * labels.samples, labels.classes);
const source = memoryLabelSource(logits, labels);
const classNames = Array.from({ length: 41 }, (_, i) => `class ${i}`);
const training = { steps: 5, batch: 32 };
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-plan-'));
});

afterAll(() => rm(dir, { recursive: true }));

const CHOICES: readonly CodecChoice[] = [
  { name: 'none' },
  { name: 'topk', k: 5 },
  { name: 'topk', k: 1, values: 'none', rest: 'zero' },
  { name: 'pca', k: 6 },
  { name: 'rpca', k: 3 },
  { name: 'scalar', levels: 8 },
  { name: 'vq', dc: 4, k: 16 },
  { name: 'mean' },
  { name: 'vqae', dh: 12, dc: 4, k: 16 },
  { ratio: 12 },
];

test.each(CHOICES)(
  '%o: the archive is as large as predicted, to 1 %% or 120 bytes',
  async (codec) => {
    const out = join(dir, `archive-${CHOICES.indexOf(codec)}`);
    const packed = await packLogits({ source, out, codec, training, classNames });
    const sized = CODECS.sized(codec, {
      classes: labels.classes,
      labels: labels.epochs * labels.samples,
    });
    const predicted = predictArchive(CODECS.shape(sized, labels), { ...labels, classNames });
    expect(predicted.codes).toBe(packed.bytes.codes);
    expect(predicted.codec).toBe(packed.bytes.codec);
    const { total } = packed.bytes;
    expect(Math.abs(predicted.total - total)).toBeLessThan(Math.max(0.01 * total, 120));
    await using archive = await openArchive(out);
    expect(archive.bytes().total).toBe(packed.bytes.total);
  },
);

describe('planForBytes', () => {
  const large = { classes: 1000, samples: 10_000, epochs: 300 };

  test("at 40x and 100x of the paper's labels: its own parameters", () => {
    expect(planForBytes('topk', large, 6e9 / 40)?.codec).toEqual({ name: 'topk', k: 15 });
    expect(planForBytes('topk', large, 6e9 / 100)?.codec).toEqual({ name: 'topk', k: 6 });
    expect(planForBytes('pca', large, 6e9 / 40)?.codec).toEqual({ name: 'pca', k: 24 });
    expect(planForBytes('vqae', large, 6e9 / 40)?.codec).toMatchObject({ k: 512 });
    expect(planForBytes('vqae', large, 6e9 / 100)?.codec).toMatchObject({ k: 128 });
  });

  test.each(['vqae', 'topk', 'pca', 'rpca', 'scalar', 'vq'] as const)(
    '%s stays within its budget and wastes little of it',
    (name) => {
      fc.assert(
        fc.property(
          fc.integer({ min: 100, max: 2000 }),
          fc.integer({ min: 500, max: 5000 }),
          fc.integer({ min: 20, max: 300 }),
          fc.double({ min: 2, max: 60, noNaN: true }),
          (classes, samples, epochs, ratio) => {
            const some = { classes, samples, epochs };
            const budget = (2 * classes * samples * epochs) / ratio;
            const plan = planForBytes(name, some, budget);
            if (plan === undefined) return;
            expect(plan.bytes).toBeLessThanOrEqual(budget);
            const again = predictArchive(CODECS.shape(plan.codec, some), some);
            expect(again.total).toBe(plan.bytes);
          },
        ),
        { numRuns: 25 },
      );
    },
  );

  test('few segments have a large codebook: a setting in between may be the only one that fits', () => {
    const few = { classes: 546, samples: 546, epochs: 40 };
    const found = planForBytes('vq', few, (2 * 546 * 546 * 40) / 100);
    expect(found?.codec).toMatchObject({ name: 'vq', k: 128 });
  });

  test('nothing fits into nothing', () => {
    expect(planForBytes('topk', large, 5e6)).toBeUndefined();
    expect(vqaeLevelSet(large, 1000)).toEqual([]);
  });
});

test('settings of a level set are within 10 % of each other, and one of them is suggested', () => {
  const set = vqaeLevelSet({ classes: 1000, samples: 10_000, epochs: 300 }, 6e9 / 40);
  expect(set.length).toBeGreaterThanOrEqual(8);
  expect(set.filter(({ suggested }) => suggested)).toHaveLength(1);
  const sizes = set.map(({ bytes }) => bytes);
  expect(Math.min(...sizes) / Math.max(...sizes)).toBeGreaterThan(0.9);
  for (const { codec } of set) expect(codec.dh % codec.dc).toBe(0);
});

test('pruning: as many full batches as the budget pays for', async () => {
  const budget = 20_000;
  const found = pruneForBytes(labels, 8, budget);
  expect(found).toBeDefined();
  if (found === undefined) return;
  const out = join(dir, 'pruned');
  const packed = await packLogits({
    source,
    out,
    codec: { name: 'none' },
    prune: { ratio: found.ratio, batchSize: 8 },
  });
  expect(Math.abs(packed.bytes.total / found.bytes - 1)).toBeLessThan(0.01);
  expect(pruneForBytes(labels, 8, 100)).toBeUndefined();
});
