import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { SoftpackError } from '../errors.js';

/**
 * An archive that keeps the labels of the first batches only, as LPLD does (Xiao and He 2024): its rows are
 * batches, not epochs. Row b holds the labels of `batchSize` samples (the archive's `samples`), in the order of
 * the permutation that {@link BatchSamples} draws, or as its column `sample` lists them. Training draws rows with
 * replacement.
 */
export interface Pruning {
  /** Distilled samples, kept or not. */
  readonly samples: number;
  /** Epochs that a student trains for. */
  readonly epochs: number;
  /** Seed of the permutations that batches are cut from; absent if column `sample` lists each row's samples. */
  readonly seed?: number;
}

/** U32 [batch] of a pruned archive without a seed: the samples of a row, any number of times each. */
export const SAMPLE_COLUMN = 'sample';

/** Whether the samples of rows follow from a seed. */
export function isDrawn(pruning: Pruning): pruning is DrawnPruning {
  return pruning.seed !== undefined;
}

export type DrawnPruning = Pruning & { readonly seed: number };

/** Full batches per epoch; the remaining samples are dropped, as in LPLD. */
export function batchesPerEpoch({ samples }: Pick<Pruning, 'samples'>, batchSize: number): number {
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

/** Labels of a row: epoch of their views, and samples. */
export interface RowLabels {
  readonly epoch: number;
  readonly samples: Uint32Array;
}

/** Maps a row to the labels it holds: epoch and samples of that batch of the training. */
export class BatchSamples {
  readonly #pruning: DrawnPruning;
  readonly #batchSize: number;
  readonly #rows: number;
  #order: RowLabels | undefined;

  /** @param rows number of rows in use: samples of an epoch after its last row are not drawn. */
  constructor(pruning: DrawnPruning, batchSize: number, rows = Number.POSITIVE_INFINITY) {
    this.#pruning = pruning;
    this.#batchSize = batchSize;
    this.#rows = rows;
  }

  at(row: number): RowLabels {
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
