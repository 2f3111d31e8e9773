import { expect, it } from 'vitest';
import { BatchSamples } from '#src/archive/pruning.js';
import { labelsOfRow } from '#src/archive/read-labels.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { prunedSource } from '#src/pipeline/pruned-source.js';

it('tells codecs epoch and samples of a pruned row, when encoding and when decoding alike', async () => {
  const shape = { epochs: 4, samples: 10, classes: 2 };
  // Every logit names its epoch and sample.
  const logits = Float32Array.from({ length: 80 }, (_, i) => Math.floor(i / 2));
  const all = memoryLabelSource(logits, shape);
  const { source, pruning } = prunedSource(all, { ratio: 2, batchSize: 3, seed: 5 });
  const batches = new BatchSamples(pruning, 3);
  const range = { start: 1, count: 2 };
  const plain = {
    manifest: { samples: 10, epochs: 4, augmentation: null, columns: [] },
    storedEpoch: (epoch: number) => epoch,
    fileOf: () => '',
    readRow: () => Promise.reject(new Error('no column is needed')),
  };
  expect(source.epochs).toBe(6);
  for (let row = 0; row < source.epochs; row++) {
    const found = await source.labelsOf?.(row, 1, 2);
    const archive = { ...plain, manifest: { ...plain.manifest, samples: 3, epochs: 6, pruning } };
    expect(await labelsOfRow(archive, row, range)).toEqual(found);
    expect(found?.epoch).toBe(batches.at(row).epoch);
    const values = await source.read(row, 1, 2);
    const ids = found?.samples as Uint32Array;
    expect([values[0], values[2]]).toEqual([...ids].map((id) => 10 * (found?.epoch ?? 0) + id));
  }
  expect(await labelsOfRow(plain, 3, range)).toEqual({ epoch: 3, samples: range });
});
