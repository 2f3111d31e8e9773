import * as tf from '@tensorflow/tfjs';

/** Keeps the gradient of a norm finite at zero. */
const TINY = 1e-12;

/**
 * Distance of a batch norm's input from the statistics that the norm has stored: ||mean - M|| + ||variance - V||, with the
 * biased variance over batch and space. The gradient is one multiply and one add; the composed one of `tf.moments` tiles
 * every statistic to the size of the input.
 */
export function normLoss(
  input: tf.Tensor4D,
  storedMean: tf.Tensor1D,
  storedVariance: tf.Tensor1D,
): tf.Scalar {
  const channels = input.shape[3];
  const rows = input.size / channels;
  const loss = tf.customGrad((x, save) => {
    const flat = (x as tf.Tensor).reshape<tf.Tensor2D>([rows, channels]);
    const ones = tf.ones<tf.Rank.R2>([1, rows]);
    const mean = tf.matMul(ones, flat).div<tf.Tensor2D>(rows);
    const centred = flat.sub<tf.Tensor2D>(mean);
    const variance = tf.matMul(ones, centred.square<tf.Tensor2D>()).div<tf.Tensor2D>(rows);
    const ofMean = mean.sub<tf.Tensor2D>(storedMean);
    const ofVariance = variance.sub<tf.Tensor2D>(storedVariance);
    const [a, b] = [ofMean.norm(), ofVariance.norm()];
    const slope = ofVariance.div(b.add(TINY)).mul(2 / rows);
    const offset = ofMean.div(a.add(TINY)).div(rows);
    (save as tf.GradSaveFunc)([centred, slope, offset]);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const [deviation, scale, shift] = saved;
      return [deviation.mul(scale).add(shift).mul(dy).reshape(input.shape)];
    };
    return { value: a.add(b), gradFunc };
  });
  return loss(input) as tf.Scalar;
}
