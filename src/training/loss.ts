import * as tf from '@tensorflow/tfjs';
import { warnOfPlainBackend } from '../nn/backend/plain-backend.js';

/** Keeps 0 log 0 = 0 in the entropy of labels that hold exact zeros; far below float32's resolution of 1. */
const TINY = 1e-30;

/**
 * KL(y || softmax(z / tau)), averaged over the batch: the loss of the student, a scalar. `tau` is that of the labels, which
 * a loader gives with each batch.
 *
 * The gradient with respect to z is (softmax(z / tau) - y) / (tau * batch). It is not multiplied by tau^2 as in
 * Hinton et al. 2015: tau is one constant for all batches of an epoch, and AdamW does not see the scale of a loss. With
 * hard or smoothed labels and tau 1 this is cross-entropy less the labels' own entropy.
 *
 * `logits` and `labels` are [batch, classes]; rows of `labels` sum to 1. No gradient flows to the labels.
 */
export function kdLoss(logits: tf.Tensor, labels: tf.Tensor, tau: number): tf.Scalar {
  warnOfPlainBackend(tf.getBackend());
  const batch = logits.shape[0];
  const divergence = tf.customGrad((z, y, save) => {
    const student = tf.logSoftmax((z as tf.Tensor).div(tau));
    (save as tf.GradSaveFunc)([student, y as tf.Tensor]);
    const teacher = (y as tf.Tensor).maximum(TINY).log();
    const value = (y as tf.Tensor).mul(teacher.sub(student)).sum().div(batch);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const [logProbabilities, target] = saved;
      const gradient = logProbabilities.exp().sub(target);
      return [gradient.mul(dy.div(tau * batch)), tf.zerosLike(target)];
    };
    return { value, gradFunc };
  });
  return divergence(logits, labels) as tf.Scalar;
}
