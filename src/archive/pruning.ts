import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { SoftpackError } from '../errors.js';
import type { LabelsOf } from '../labels/source.js';

/**
 * An archive that keeps the labels of the first batches only, as LPLD does (Xiao and He 2024): its rows are
 * batches, not epochs. Row b holds the labels of `batchSize` samples (the archive's `samples`), in the order of
 * the permutation that {@link batchSamples} draws. Training draws rows with replacement.
 */
export interface Pruning {
  /** Distilled samples, kept or not. */
  readonly samples: number;
  /** Epochs that a student trains for. */
  readonly epochs: number;
  /** Seed of the permutations that batches are cut from. */
  readonly seed: number;
}

/** Full batches per epoch; the remaining samples are dropped, as in LPLD. */
export function batchesPerEpoch({ samples }: Pruning, batchSize: number): number {
  return Math.floor(samples / batchSize);
}

/** The first 1 / ratio of all batches, rounded down; `INVALID_ARGUMENT` if that is none. */
export function keptBatches(pruning: Pruning, batchSize: number, ratio: number): number {
  const all = pruning.epochs * batchesPerEpoch(pruning, batchSize);
  // Rounding tolerance: a ratio computed from a number of batches must give that number back.
  const kept = Math.floor((all / ratio) * (1 + 1e-12));
  if (ratio >= 1 && kept >= 1) return kept;
  throw new SoftpackError('INVALID_ARGUMENT', 'no batch would be kept', {
    field: 'prune',
    expected: `a ratio from 1 to ${all}, the number of batches`,
    found: ratio,
  });
}

/** The labels at `start` to `start + count` of a row, which is an epoch or, in a pruned archive, a batch. */
export function labelsOfRow(
  { samples, pruning }: { readonly samples: number; readonly pruning?: Pruning },
  row: number,
  start: number,
  count: number,
): LabelsOf {
  if (pruning === undefined) return { epoch: row, samples: { start, count } };
  const batch = new BatchSamples(pruning, samples).at(row);
  return { epoch: batch.epoch, samples: batch.samples.slice(start, start + count) };
}

/** Maps a row to the labels it holds: epoch and samples of that batch of the training. */
export class BatchSamples {
  readonly #pruning: Pruning;
  readonly #batchSize: number;
  readonly #rows: number;
  #order: { readonly epoch: number; readonly samples: Uint32Array } | undefined;

  /** @param rows number of rows in use: samples of an epoch after its last row are not drawn. */
  constructor(pruning: Pruning, batchSize: number, rows = Number.POSITIVE_INFINITY) {
    this.#pruning = pruning;
    this.#batchSize = batchSize;
    this.#rows = rows;
  }

  at(row: number): { readonly epoch: number; readonly samples: Uint32Array } {
    const { samples, seed } = this.#pruning;
    const each = batchesPerEpoch(this.#pruning, this.#batchSize);
    const epoch = Math.floor(row / each);
    if (this.#order?.epoch !== epoch) {
      const random = new RandomSequence(seed, STREAM.training, epoch);
      const kept = Math.min(each, this.#rows - epoch * each) * this.#batchSize;
      this.#order = { epoch, samples: random.distinct(kept, samples) };
    }
    const start = (row % each) * this.#batchSize;
    return { epoch, samples: this.#order.samples.subarray(start, start + this.#batchSize) };
  }
}
