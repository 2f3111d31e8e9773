import { expect, it } from 'vitest';
import { BatchSamples, labelsOfRow } from '#src/archive/pruning.js';
import { memoryLabelSource } from '#src/labels/source.js';
import { prunedSource } from '#src/pipeline/pruned-source.js';

it('tells codecs epoch and samples of a pruned row, when encoding and when decoding alike', async () => {
  const shape = { epochs: 4, samples: 10, classes: 2 };
  // Every logit names its epoch and sample.
  const logits = Float32Array.from({ length: 80 }, (_, i) => Math.floor(i / 2));
  const all = memoryLabelSource(logits, shape);
  const { source, pruning } = prunedSource(all, { ratio: 2, batchSize: 3, seed: 5 });
  const batches = new BatchSamples(pruning, 3);
  expect(source.epochs).toBe(6);
  for (let row = 0; row < source.epochs; row++) {
    const found = source.labelsOf?.(row, 1, 2);
    expect(labelsOfRow({ samples: 3, pruning }, row, 1, 2)).toEqual(found);
    expect(found?.epoch).toBe(batches.at(row).epoch);
    const values = await source.read(row, 1, 2);
    const ids = found?.samples as Uint32Array;
    expect([values[0], values[2]]).toEqual([...ids].map((id) => 10 * (found?.epoch ?? 0) + id));
  }
  const epoch = { epoch: 3, samples: { start: 1, count: 2 } };
  expect(labelsOfRow({ samples: 10 }, 3, 1, 2)).toEqual(epoch);
});
