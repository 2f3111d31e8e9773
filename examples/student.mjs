// The student of all examples: a small convolutional network, from pixels to logits.
import * as tf from '@tensorflow/tfjs';

export function createStudent([height, width], classes) {
  let seed = 1;
  const kernelInitializer = () => tf.initializers.heNormal({ seed: seed++ });
  const convolution = (filters, more = {}) =>
    tf.layers.conv2d({
      ...{ filters, kernelSize: 3, padding: 'same', activation: 'relu' },
      ...{ kernelInitializer: kernelInitializer(), ...more },
    });
  return tf.sequential({
    layers: [
      convolution(8, { inputShape: [height, width, 3] }),
      tf.layers.averagePooling2d({ poolSize: 2 }),
      convolution(16),
      tf.layers.globalAveragePooling2d({}),
      tf.layers.dense({ units: classes, kernelInitializer: kernelInitializer() }),
    ],
  });
}

/** What every pixel goes through: [0, 1] to [-1, 1]. */
export const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
