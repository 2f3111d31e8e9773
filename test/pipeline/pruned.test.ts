import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '#src/archive/archive.js';
import { BatchSamples, batchesPerEpoch, keptBatches } from '#src/archive/pruning.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews } from '#src/augment/replay.js';
import { memoryImages } from '#src/images/memory.js';
import { loadKernels } from '#src/kernels/load.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { softmaxRows } from '#src/labels/temperature.js';
import { prunedBatches } from '#src/loader/kept-batches.js';
import { archiveSource } from '#src/pipeline/archive-source.js';
import { packLogits } from '#src/pipeline/pack.js';
import { syntheticLogits } from '../codecs/labels.js';

const [epochs, samples, classes, batchSize] = [5, 23, 11, 4];
const logits = syntheticLogits(epochs * samples, classes);
const source = memoryLabelSource(logits, { epochs, samples, classes });
const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] } as const;
const augmentation = {
  generator: 'philox4x32-10',
  seed: 3,
  size: [6, 6],
  crop: { scale: [0.5, 1], ratio: [0.75, 1.333] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 0.5 },
} as const;
const pixels = Uint8Array.from({ length: samples * 8 * 8 * 3 }, (_, i) => (i * 37) % 251);
const images = memoryImages(pixels, 8, 8);
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'softpack-pruned-'));
});

afterAll(() => rm(dir, { recursive: true }));

function pack(name: string, ratio: number, codec: Parameters<typeof packLogits>[0]['codec']) {
  const prune = { ratio, batchSize, seed: 7 };
  return packLogits({ source, out: join(dir, name), codec, prune, tau: 4, augmentation });
}

describe('which batches are kept', () => {
  const pruning = { samples, epochs, seed: 7 };

  test('the first of them, cut from permutations of the samples', () => {
    const batches = new BatchSamples(pruning, batchSize);
    expect(batchesPerEpoch(pruning, batchSize)).toBe(5);
    for (let epoch = 0; epoch < epochs; epoch++) {
      const rows = [0, 1, 2, 3, 4].map((i) => batches.at(5 * epoch + i));
      expect(rows.every((row) => row.epoch === epoch)).toBe(true);
      const ids = rows.flatMap((row) => [...row.samples]);
      expect(new Set(ids).size).toBe(20);
      expect(Math.max(...ids)).toBeLessThan(samples);
    }
    const [first, second] = [batches.at(0), batches.at(5)].map((row) => row.samples.join());
    expect(first).not.toBe(second);
  });

  test('with the same samples, whether an epoch is drawn whole or up to its last kept row', () => {
    const whole = new BatchSamples(pruning, batchSize);
    const few = new BatchSamples(pruning, batchSize, 7);
    for (let row = 0; row < 7; row++) expect(few.at(row)).toEqual(whole.at(row));
  });

  test('of 2^32 samples without memory for those that were not kept', () => {
    const many = new BatchSamples({ samples: 2 ** 32, epochs: 1, seed: 7 }, batchSize, 3);
    const ids = [0, 1, 2].flatMap((row) => [...many.at(row).samples]);
    expect(new Set(ids).size).toBe(12);
  });

  test.each([
    [1, 25],
    [2, 12],
    [25, 1],
    [25 / 7, 7],
  ])('1 / %d of 25', (ratio, kept) => expect(keptBatches(pruning, batchSize, ratio)).toBe(kept));

  test.each([0.5, 26, Number.NaN])('a ratio of %d keeps none', (ratio) => {
    const call = () => keptBatches(pruning, batchSize, ratio);
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', field: 'prune' }));
  });
});

describe('a pruned archive', () => {
  test('gives every drawn batch the views and labels of its own epoch, for all epochs', async () => {
    const packed = await pack('plain', 3, { name: 'none' });
    expect(packed.labels).toBe(epochs * samples);
    await using archive = await openArchive(join(dir, 'plain'));
    expect(archive.manifest.features.required).toEqual(['pruned']);
    expect([archive.epochs, archive.samples]).toEqual([8, batchSize]);
    const kept = new BatchSamples({ samples, epochs, seed: 7 }, batchSize);
    const rows = Array.from({ length: 8 }, (_, row) => kept.at(row)).map((row) => ({
      epoch: row.epoch,
      samples: row.samples.slice(),
    }));
    const augmenter = new Augmenter(augmentation, images);
    const drawn = new Map<number, number>();
    let count = 0;
    for await (const batch of prunedBatches({ archive, images, normalisation, seed: 1 })) {
      expect(batch.epoch).toBe(Math.floor(count++ / 5));
      const expected = new Float32Array(batchSize * classes);
      const found = rows.findIndex((row) => {
        for (const [i, id] of row.samples.entries()) {
          const at = (row.epoch * samples + id) * classes;
          expected.set(logits.subarray(at, at + classes), i * classes);
        }
        softmaxRows(expected, batchSize, classes, 4, expected);
        return expected.every((value, j) => Math.abs(value - batch.ys[j]) < 1e-3);
      });
      expect(found).toBeGreaterThanOrEqual(0);
      drawn.set(found, (drawn.get(found) ?? 0) + 1);
      expect(batch.sampleIds).toEqual(rows[found].samples);
      const xs = new Float32Array(batchSize * 6 * 6 * 3);
      renderViews(augmenter, images, rows[found].epoch, rows[found].samples, normalisation, xs);
      expect(batch.xs).toEqual(xs);
    }
    expect(count).toBe(epochs * 5);
    // 25 draws with replacement out of 8: some come again, and hardly all of them once.
    expect(Math.max(...drawn.values())).toBeGreaterThan(1);
  });

  test('is the same for the same seed, and another for another', async () => {
    await pack('seeded', 3, { name: 'none' });
    await using archive = await openArchive(join(dir, 'seeded'));
    const ids = async (seed: number) => {
      const all: number[] = [];
      for await (const { sampleIds } of prunedBatches({ archive, seed })) all.push(...sampleIds);
      return all;
    };
    expect(await ids(4)).toEqual(await ids(4));
    expect(await ids(4)).not.toEqual(await ids(5));
  });

  test('composes with any codec', async () => {
    const packed = await pack('composed', 2, { name: 'topk', k: 3, values: 'logits' });
    expect(packed.codec.name).toBe('topk');
    // Half of the batches, of which 3 of 23 samples an epoch are in none.
    expect(packed.bytes.codes).toBe(12 * Math.ceil((batchSize * 3 * (4 + 16)) / 8));
    await using archive = await openArchive(join(dir, 'composed'));
    for await (const { ys } of prunedBatches({ archive })) {
      for (let at = 0; at < ys.length; at += classes) {
        expect(ys.subarray(at, at + classes).filter((value) => value > 0)).toHaveLength(3);
      }
    }
  });

  test('is no source of all labels, and other archives are not pruned', async () => {
    await pack('source', 3, { name: 'none' });
    await using archive = await openArchive(join(dir, 'source'));
    expect(() => archiveSource(archive, loadKernels())).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    );
    await packLogits({ source, out: join(dir, 'whole'), codec: { name: 'none' } });
    await using whole = await openArchive(join(dir, 'whole'));
    await expect(prunedBatches({ archive: whole }).next()).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      field: 'archive',
    });
  });

  test.each([0, 24, 1.5])('a batch size of %d is refused', async (size) => {
    const call = packLogits({
      source,
      out: join(dir, 'refused'),
      codec: { name: 'none' },
      prune: { ratio: 2, batchSize: size },
    });
    await expect(call).rejects.toMatchObject({ field: 'prune.batchSize' });
  });
});
