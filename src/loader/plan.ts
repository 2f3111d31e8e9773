import { EpochOrder } from './order.js';

/** Start of a batch: samples of the epoch delivered before it, over all ranks. */
export interface Position {
  readonly epoch: number;
  readonly start: number;
}

export interface BatchPlanOptions {
  readonly samples: number;
  /** Samples per batch of one rank. */
  readonly batchSize: number;
  readonly seed: number;
  readonly shuffle: boolean;
  readonly dropLast: boolean;
  readonly rank: number;
  readonly worldSize: number;
}

/**
 * Assignment of samples to batches, a pure function of the options. Rank r of W takes every W-th position of the
 * epoch's order from r on, so that the ranks' batches of one index together are the samples that a single loader
 * of W times the batch size would give. All ranks get equally many samples: if W does not divide the last batch, it is
 * filled from the start of the order, with at most W - 1 samples (none with `dropLast`).
 */
export class BatchPlan {
  readonly batchesPerEpoch: number;
  readonly #options: BatchPlanOptions;
  /** Samples of one batch of all ranks. */
  readonly #step: number;
  #order: { readonly epoch: number; readonly order: EpochOrder } | undefined;

  constructor(options: BatchPlanOptions) {
    this.#options = options;
    this.#step = options.batchSize * options.worldSize;
    const batches = options.samples / this.#step;
    this.batchesPerEpoch = options.dropLast ? Math.floor(batches) : Math.ceil(batches);
  }

  /** Number of the batch within its epoch. */
  indexOf({ start }: Position): number {
    return Math.floor(start / this.#step);
  }

  /** Samples in the rank's batch. */
  sizeOf({ start }: Position): number {
    const { samples, worldSize } = this.#options;
    return Math.ceil(Math.min(samples - start, this.#step) / worldSize);
  }

  samplesOf(position: Position): Uint32Array {
    const { rank, worldSize, samples, shuffle } = this.#options;
    const order = this.#orderOf(position.epoch);
    const first = position.start + rank;
    return Uint32Array.from({ length: this.sizeOf(position) }, (_, i) => {
      const at = (first + i * worldSize) % samples;
      return shuffle ? order.at(at) : at;
    });
  }

  /** The batch after this one, before `lastEpoch`; `undefined` if there is none. */
  after({ epoch, start }: Position, lastEpoch: number): Position | undefined {
    const { samples } = this.#options;
    return this.from({ epoch, start: Math.min(samples, start + this.#step) }, lastEpoch);
  }

  /** The first batch from this position on: the same, or the start of the next epoch if this one has none left. */
  from({ epoch, start }: Position, lastEpoch: number): Position | undefined {
    if (this.batchesPerEpoch === 0) return undefined;
    const left = this.#options.samples - start;
    const over = left <= 0 || (this.#options.dropLast && left < this.#step);
    const position = over ? { epoch: epoch + 1, start: 0 } : { epoch, start };
    return position.epoch < lastEpoch ? position : undefined;
  }

  #orderOf(epoch: number): EpochOrder {
    const { samples, seed } = this.#options;
    if (this.#order?.epoch !== epoch) {
      this.#order = { epoch, order: new EpochOrder(samples, seed, epoch) };
    }
    return this.#order.order;
  }
}
