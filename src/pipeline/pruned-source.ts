import { BatchSamples, type DrawnPruning, keptBatches } from '../archive/pruning.js';
import { SoftpackError } from '../errors.js';
import type { LabelSource } from '../labels/source.js';

export interface PruneOptions {
  /** N: the first 1/N of all batches are kept. */
  readonly ratio: number;
  /** Labels per batch; students must train with this batch size. */
  readonly batchSize: number;
  /** Seed of the order that batches are cut from; default 0. */
  readonly seed?: number;
}

/** The kept labels of a source, one batch per row; see `Pruning`. Closing it leaves the source open. */
export function prunedSource(
  source: LabelSource,
  { ratio, batchSize, seed = 0 }: PruneOptions,
): { readonly source: LabelSource; readonly pruning: DrawnPruning } {
  const { samples, epochs, classes, dtype } = source;
  const whole = Number.isSafeInteger(batchSize) && batchSize >= 1 && batchSize <= samples;
  if (!whole) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not a batch size', {
      field: 'prune.batchSize',
      expected: `from 1 to ${samples}, the number of samples`,
      found: batchSize,
    });
  }
  const pruning = { samples, epochs, seed };
  const kept = keptBatches(pruning, batchSize, ratio);
  const batches = new BatchSamples(pruning, batchSize, kept);
  const pruned: LabelSource = {
    epochs: kept,
    samples: batchSize,
    classes,
    dtype,
    labelsOf(row, start, count) {
      const { epoch, samples: ids } = batches.at(row);
      return { epoch, samples: ids.slice(start, start + count) };
    },
    async read(row, start, count) {
      const { epoch, samples: ids } = batches.at(row);
      const out = new Float32Array(count * classes);
      for (let i = 0; i < count; i++) {
        out.set(await source.read(epoch, ids[start + i], 1), i * classes);
      }
      return out;
    },
    async close() {},
    async [Symbol.asyncDispose]() {},
  };
  return { source: pruned, pruning };
}
