import * as tf from '@tensorflow/tfjs';

/**
 * Distance of the student's distribution q from the teacher's p: `forward` is KL(p || q), `reverse` KL(q || p), `jsd`
 * beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q.
 */
export type Divergence =
  | { readonly kind: 'forward' }
  | { readonly kind: 'reverse' }
  | { readonly kind: 'jsd'; readonly beta: number };

/** Kept away from 0 under a logarithm; far below float32's resolution of 1. */
export const TINY = 1e-30;

/** Value per position, [positions, 1], and gradient with respect to the scaled logits, [positions, vocabulary]. */
export interface Distance {
  readonly value: tf.Tensor;
  readonly gradient: tf.Tensor;
}

/** beta p log(p / m) + (1 - beta) q log(q / m), and its derivative with respect to q. */
export function mixture(p: tf.Tensor, q: tf.Tensor, beta: number) {
  const log = (x: tf.Tensor) => x.maximum(TINY).log();
  const logMixture = log(p.mul(beta).add(q.mul(1 - beta)));
  const slope = log(q)
    .sub(logMixture)
    .mul(1 - beta);
  return { value: p.mul(log(p).sub(logMixture)).mul(beta).add(q.mul(slope)), slope };
}

/** [positions, 1]. */
export function column(values: Float32Array): tf.Tensor {
  return tf.tensor2d(values, [values.length, 1]);
}
