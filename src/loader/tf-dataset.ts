import type { LabelLoader } from './loader.js';

/** The two functions of TensorFlow.js that a data set needs; pass the `tf` of your own training code. */
export interface TfLike<Images, Labels> {
  tensor4d(values: Float32Array, shape: [number, number, number, number]): Images;
  tensor2d(values: Float32Array, shape: [number, number]): Labels;
}

/** What `fitDataset` and `evaluateDataset` ask of a data set. */
export interface TfDataset<Images, Labels> {
  /** Batches an epoch. */
  readonly size: number;
  iterator(): Promise<{ next(): Promise<IteratorResult<{ xs: Images; ys: Labels }>> }>;
}

/**
 * `fitDataset` asks for one iterator more than there are epochs and drops it unread, disposes the tensors of
 * every step itself, and never calls `return()`. So an iterator starts work at its first `next()` and is then
 * bound to the loader's next unstarted epoch.
 */
export function tfDatasetOf<Images, Labels>(
  tf: TfLike<Images, Labels>,
  loader: LabelLoader,
): TfDataset<Images, Labels> {
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
