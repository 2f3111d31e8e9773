import { SoftpackError } from '../errors.js';
import { createLoader, type LabelLoader } from './loader.js';
import type { Batch, LoaderOptions } from './options.js';

export interface DataLoaderOptions<T> extends LoaderOptions {
  /** Converts a batch into what the training loop needs; default: the batch itself. */
  readonly collate?: (batch: Batch) => T;
}

/**
 * Loader with the interface of PyTorch's `DataLoader`: each iteration is one whole epoch, the next one every time, also
 * after one that was ended by `break`. The first iteration after `resume` starts where the state says.
 *
 * ```ts
 * const train = new DataLoader({ archive, images, normalisation, batchSize: 64 });
 * for (let epoch = 0; epoch < archive.epochs; epoch++) {
 *   for await (const { xs, ys } of train) step(xs, ys);
 * }
 * ```
 */
export class DataLoader<T = Batch> implements AsyncIterable<T>, AsyncDisposable {
  readonly loader: LabelLoader;
  readonly batchSize: number;
  readonly shuffle: boolean;
  readonly dropLast: boolean;
  readonly collate: (batch: Batch) => T;
  /** Whether batches of the loader's present epoch went to an earlier iteration. */
  #begun = false;

  constructor(options: DataLoaderOptions<T>) {
    const { batchSize, shuffle = true, dropLast = false, collate } = options;
    this.loader = createLoader(options);
    this.batchSize = batchSize;
    this.shuffle = shuffle;
    this.dropLast = dropLast;
    this.collate = collate ?? ((batch) => batch as T);
  }

  /** Batches per epoch. */
  get length(): number {
    return this.loader.batchesPerEpoch;
  }

  /** The epoch that the next iteration delivers, as `set_epoch` of PyTorch's distributed sampler. */
  setEpoch(epoch: number): void {
    this.loader.seek(epoch);
    this.#begun = false;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    const { to } = this.loader.epochs;
    const { epoch: present, delivered } = this.loader.state();
    const epoch = this.#begun && delivered > 0 ? present + 1 : present;
    if (epoch >= to) {
      throw new SoftpackError('INVALID_ARGUMENT', 'the archive has no labels for another epoch', {
        field: 'epoch',
        expected: `< ${to} (setEpoch goes back)`,
        found: epoch,
      });
    }
    if (epoch !== present) this.loader.seek(epoch);
    this.#begun = true;
    for await (const batch of this.loader.epoch()) yield this.collate(batch);
  }

  close(): Promise<void> {
    return this.loader.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
