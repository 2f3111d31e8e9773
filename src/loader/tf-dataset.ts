import type { PackedCodes } from '../codecs/codec.js';
import { SoftpackError } from '../errors.js';
import { warnOfPlainBackend } from '../nn/backend/plain-backend.js';
import type { Batch } from './options.js';

/** The part of TensorFlow.js that a data set uses; pass the `tf` of your own training code. */
export interface TfLike<Images, Labels> {
  getBackend(): string;
  tensor4d(values: Float32Array, shape: [number, number, number, number]): Images;
  tensor2d(values: Float32Array, shape: [number, number]): Labels;
}

/** Interface that `fitDataset` and `evaluateDataset` expect of a data set. */
export interface TfDataset<Images, Labels> {
  /** Batches of one iterator. */
  readonly size: number;
  iterator(): Promise<{ next(): Promise<IteratorResult<{ xs: Images; ys: Labels }>> }>;
}

export interface TfDatasetOptions {
  /**
   * Batches that one iterator delivers. `epoch` (default): the loader's next epoch, for `fitDataset`, which asks for one
   * iterator per epoch. `continuous`: all epochs, for `fitDataset` with `batchesPerEpoch`, which asks for one
   * iterator in all. `repeat`: the loader's first epoch, again and again, for `validationData` and
   * `evaluateDataset`.
   */
  readonly mode?: 'epoch' | 'continuous' | 'repeat';
  /**
   * Native TensorFlow decodes the labels of a loader with `labels: 'codes'` into its own memory, by the operations of
   * `softpack tensorflow install`; default false.
   */
  readonly device?: boolean;
}

/** The part of a loader that a data set uses. */
interface BatchSource extends AsyncIterable<Batch> {
  readonly epochs: { readonly from: number; readonly to: number };
  readonly batchesPerEpoch: number;
  epoch(): AsyncIterator<Batch>;
  seek(epoch: number): void;
}

/**
 * `fitDataset` asks for one iterator more than there are epochs and drops it unread, disposes the tensors of
 * every step itself, and never calls `return()`. So an iterator starts work at its first `next()` and is then
 * bound to the loader's next unstarted epoch; whatever an abandoned one has made ahead is discarded when the next one
 * begins, or when the loader is closed.
 *
 * @param decodeCodes gives the tensor of a batch's labels.
 */
export function tfDatasetOf<Images, Labels>(
  tf: TfLike<Images, Labels>,
  loader: BatchSource,
  { mode = 'epoch' }: TfDatasetOptions,
  decodeCodes: (codes: PackedCodes) => Promise<unknown> = refuseCodes,
): TfDataset<Images, Labels> {
  const begin = () => {
    if (mode === 'continuous') return loader[Symbol.asyncIterator]();
    if (mode === 'repeat') loader.seek(loader.epochs.from);
    return loader.epoch();
  };
  const epochs = loader.epochs.to - loader.epochs.from;
  return {
    size: mode === 'continuous' ? epochs * loader.batchesPerEpoch : loader.batchesPerEpoch,
    async iterator() {
      let batches: ReturnType<typeof begin> | undefined;
      return {
        async next() {
          batches ??= begin();
          const step = await batches.next();
          if (step.done) return { done: true, value: undefined };
          const { xsShape, ysShape, codes } = step.value;
          try {
            const decoded = codes && ((await decodeCodes(codes)) as Labels);
            const { xs, ys } = tensorArrays(step.value, tf.getBackend());
            const value = {
              xs: tf.tensor4d(xs, [...xsShape]),
              ys: decoded ?? tf.tensor2d(ys, [...ysShape]),
            };
            // Known once there is a tensor: until then a process may have no backend.
            warnOfPlainBackend(tf.getBackend());
            return { done: false, value };
          } finally {
            step.value.release();
          }
        },
      };
    },
  };
}

/** The wasm backend copies a tensor's array; other backends use it as long as the tensor lives. */
function tensorArrays(batch: Batch, backend: string): Pick<Batch, 'xs' | 'ys'> {
  const inSlot = [batch.xs, batch.ys].some(({ buffer }) => buffer instanceof SharedArrayBuffer);
  return inSlot && backend !== 'wasm' ? { xs: batch.xs.slice(), ys: batch.ys.slice() } : batch;
}

async function refuseCodes(): Promise<never> {
  throw new SoftpackError('UNSUPPORTED', 'a data set holds decoded labels', {
    field: 'labels',
    expected: 'probabilities, or device: true in the data set',
    found: 'codes',
  });
}
