import * as tf from '@tensorflow/tfjs';

/** Keeps the gradient of a norm finite at zero. */
const TINY = 1e-12;

/** Statistics that features are held to, [groups, 1, channels] each. */
export interface HeldStatistics {
  readonly mean: tf.Tensor3D;
  readonly variance: tf.Tensor3D;
}

/**
 * Distance of features from statistics, ||mean - M|| + ||variance - V|| with the biased variance over images and space, summed
 * over equal consecutive groups of images with statistics of their own. The gradient is one multiply and one add; the composed
 * one of `tf.moments` tiles every statistic to the size of the input.
 */
export function normLoss(input: tf.Tensor, held: HeldStatistics): tf.Scalar {
  const [groups, , channels] = held.mean.shape;
  const rows = input.size / (groups * channels);
  const loss = tf.customGrad((x, save) => {
    const flat = (x as tf.Tensor).reshape<tf.Tensor3D>([groups, rows, channels]);
    const ones = tf.ones<tf.Rank.R3>([groups, 1, rows]);
    const mean = tf.matMul(ones, flat).div<tf.Tensor3D>(rows);
    const centred = flat.sub<tf.Tensor3D>(mean);
    const variance = tf.matMul(ones, centred.square<tf.Tensor3D>()).div<tf.Tensor3D>(rows);
    const ofMean = mean.sub<tf.Tensor3D>(held.mean);
    const ofVariance = variance.sub<tf.Tensor3D>(held.variance);
    const [a, b] = [ofMean, ofVariance].map((distance) => distance.square().sum(2, true).sqrt());
    const slope = ofVariance.div(b.add(TINY)).mul(2 / rows);
    const offset = ofMean.div(a.add(TINY)).div(rows);
    (save as tf.GradSaveFunc)([centred, slope, offset]);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const [deviation, scale, shift] = saved;
      return [deviation.mul(scale).add(shift).mul(dy).reshape(input.shape)];
    };
    return { value: a.add(b).sum(), gradFunc };
  });
  return loss(input) as tf.Scalar;
}
