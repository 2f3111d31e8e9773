import * as tf from '@tensorflow/tfjs';
import type { BatchNormTap, DifferentiableNetwork } from '../network.js';
import { LEAST_PROBABILITY } from './network-teacher.js';
import type { TeacherShape } from './shape.js';

/** A network in its own layout. */
export interface RawNetwork extends Omit<DifferentiableNetwork, 'apply' | 'batch'> {
  run(input: tf.Tensor4D, tap: BatchNormTap): tf.Tensor;
}

/** Lays out the input as the network takes it, and makes logits of its output; both differentiable. */
export function differentiable(shape: TeacherShape, network: RawNetwork): DifferentiableNetwork {
  const { classes, batch } = shape;
  return {
    taps: network.taps,
    stored: () => network.stored(),
    ...(batch === undefined ? {} : { batch }),
    apply: (images, tap = () => undefined) =>
      tf.tidy(() => {
        const input = laidOut(images, shape);
        const output = network.run(input, tap).reshape<tf.Tensor2D>([-1, classes]);
        if (shape.output === 'logits') return output;
        return output.maximum<tf.Tensor2D>(LEAST_PROBABILITY).log();
      }),
  };
}

function laidOut(images: tf.Tensor4D, { layout, channels }: TeacherShape): tf.Tensor4D {
  const coloured = inChannels(images, channels);
  return layout === 'nhwc' ? coloured : coloured.transpose([0, 3, 1, 2]);
}

/** A product with a small matrix: the gradient of `reverse` and of sums over channels is slow or missing on some backends. */
function inChannels(images: tf.Tensor4D, channels: TeacherShape['channels']): tf.Tensor4D {
  if (channels === 'rgb') return images;
  const weights =
    channels === 'bgr'
      ? [
          [0, 0, 1],
          [0, 1, 0],
          [1, 0, 0],
        ]
      : [[0.299], [0.587], [0.114]];
  const [count, height, width] = images.shape;
  const flat = images.reshape<tf.Tensor2D>([-1, 3]);
  return flat.matMul(tf.tensor2d(weights)).reshape([count, height, width, weights[0].length]);
}
