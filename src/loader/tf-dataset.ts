import type { LabelLoader } from './loader.js';

/** The two functions of TensorFlow.js that a data set needs; pass the `tf` of your own training code. */
export interface TfLike<T> {
  tensor4d(values: Float32Array, shape: [number, number, number, number]): T;
  tensor2d(values: Float32Array, shape: [number, number]): T;
}

/** What `fitDataset` and `evaluateDataset` ask of a data set. */
export interface TfDataset<T> {
  /** Batches an epoch. */
  readonly size: number;
  iterator(): Promise<{ next(): Promise<IteratorResult<{ xs: T; ys: T }>> }>;
}

/**
 * `fitDataset` asks for one iterator more than there are epochs and drops it unread, disposes the tensors of
 * every step itself, and never calls `return()`. So an iterator starts work at its first `next()` and is then
 * bound to the loader's next unstarted epoch.
 */
export function tfDatasetOf<T>(tf: TfLike<T>, loader: LabelLoader): TfDataset<T> {
  return {
    size: loader.batchesPerEpoch,
    async iterator() {
      let batches: ReturnType<LabelLoader['epoch']> | undefined;
      return {
        async next() {
          batches ??= loader.epoch();
          const step = await batches.next();
          if (step.done) return { done: true, value: undefined };
          const { xs, xsShape, ys, ysShape } = step.value;
          const value = {
            xs: tf.tensor4d(xs, [...xsShape]),
            ys: tf.tensor2d(ys, [...ysShape]),
          };
          return { done: false, value };
        },
      };
    },
  };
}
