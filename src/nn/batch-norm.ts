import * as tf from '@tensorflow/tfjs';

/** Per-channel sums of x, [rows, channels] -> [1, channels]: a product with ones, which is fast on every backend. */
function columnSums(x: tf.Tensor2D): tf.Tensor2D {
  return tf.matMul(tf.ones([1, x.shape[0]]), x);
}

/**
 * Batch normalisation over all axes but the last, with the statistics of the batch.
 *
 * y = gamma (x - mean) / sqrt(variance + epsilon) + beta. The gradient is written out by hand: the composed one
 * of TensorFlow.js tiles every statistic to the size of x and takes a third of a training step.
 * `onMoments` sees the batch's mean and biased variance, [channels], outside the gradient tape.
 */
export function batchNormalise(
  x: tf.Tensor4D,
  gamma: tf.Tensor1D,
  beta: tf.Tensor1D,
  epsilon: number,
  onMoments: (mean: tf.Tensor1D, variance: tf.Tensor1D) => void,
): tf.Tensor4D {
  const channels = x.shape[3];
  const rows = x.size / channels;
  const normalise = tf.customGrad((input, scale, shift, save) => {
    const flat = (input as tf.Tensor).reshape<tf.Tensor2D>([rows, channels]);
    const mean = columnSums(flat).div<tf.Tensor2D>(rows);
    const centred = flat.sub<tf.Tensor2D>(mean);
    const variance = columnSums(centred.square()).div<tf.Tensor2D>(rows);
    const inverse = variance.add(epsilon).rsqrt();
    onMoments(mean.reshape([channels]), variance.reshape([channels]));
    const factor = inverse.mul((scale as tf.Tensor).reshape([1, channels]));
    const value = centred.mul(factor).add(shift as tf.Tensor);
    (save as tf.GradSaveFunc)([centred, inverse, factor]);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const [deviation, deviationScale, slope] = saved;
      const dyFlat = dy.reshape<tf.Tensor2D>([rows, channels]);
      const dShift = columnSums(dyFlat);
      const dScale = columnSums(dyFlat.mul(deviation)).mul(deviationScale);
      // dx = slope (dy - mean(dy) - xhat mean(dy xhat)), with xhat = deviation * deviationScale.
      const along = deviation.mul(dScale.mul(deviationScale).div(-rows));
      const dx = dyFlat.add(along).sub(dShift.div(rows)).mul(slope);
      return [dx.reshape(x.shape), dScale.reshape([channels]), dShift.reshape([channels])];
    };
    return { value: value.reshape(x.shape), gradFunc };
  });
  return normalise(x, gamma, beta) as tf.Tensor4D;
}

/** The same normalisation with given statistics, as one multiply and one add; for inference only. */
export function normaliseWith(
  x: tf.Tensor4D,
  gamma: tf.Tensor1D,
  beta: tf.Tensor1D,
  epsilon: number,
  mean: tf.Tensor1D,
  variance: tf.Tensor1D,
): tf.Tensor4D {
  const factor = variance.add(epsilon).rsqrt().mul(gamma);
  return x.mul(factor).add(beta.sub(mean.mul(factor)));
}
