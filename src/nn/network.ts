import * as tf from '@tensorflow/tfjs';
import { SoftpackError } from '../errors.js';

/** Red, green, blue. */
export const IMAGE_CHANNELS = 3;

/** A copy of one parameter. */
export interface Parameter {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Called with the input of each batch norm, channels last, in the order of the forward pass. */
export type BatchNormTap = (name: string, input: tf.Tensor) => void;

export interface ApplyOptions {
  /** Normalise by the batch's own statistics and move the stored ones towards them. Default: use the stored ones. */
  readonly training?: boolean;
  readonly tap?: BatchNormTap;
}

/** What a batch norm normalises by, [channels] each; the variance is the biased one. */
export interface NormStatistics {
  readonly mean: Float32Array;
  readonly variance: Float32Array;
}

/** A teacher's network with gradients from its logits and inner features to the pixels. */
export interface DifferentiableNetwork {
  /**
   * Names of the features whose statistics images can be held to, in the order of the forward pass: the inputs of batch norms,
   * or the outputs of convolutions if the network has none.
   */
  readonly taps: readonly string[];
  /** Statistics that the network itself keeps of its taps, in their order; `undefined` if it keeps none. */
  stored(): readonly NormStatistics[] | undefined;
  /** Images that the network takes at a time, if that is fixed. */
  readonly batch?: number;
  /** Logits [images, classes] of normalised images [images, height, width, 3] in inference mode; calls `tap` once for each of `taps`. */
  apply(images: tf.Tensor4D, tap?: BatchNormTap): tf.Tensor2D;
}

/** A network for square colour images that this library can train, on whichever backend is selected. */
export interface Network extends Disposable {
  /** Height and width of the images, pixels. */
  readonly inputSize: number;
  readonly classes: number;
  /** Variables that training changes by gradient, in a fixed order. */
  readonly trainable: readonly tf.Variable[];
  /** Logits [batch, classes] of images [batch, inputSize, inputSize, 3]; differentiable in images and `trainable`. */
  apply(images: tf.Tensor4D, options?: ApplyOptions): tf.Tensor2D;
  /** A copy of every parameter by name, moving statistics included. */
  parameters(): Promise<ReadonlyMap<string, Parameter>>;
  dispose(): void;
}

/**
 * Logits of float32 images [batch, inputSize, inputSize, 3], in inference mode: [batch, classes].
 *
 * @throws `INVALID_ARGUMENT` unless `images` holds a whole number of images.
 */
export async function predict(network: Network, images: Float32Array): Promise<Float32Array> {
  const { inputSize } = network;
  const stride = inputSize * inputSize * IMAGE_CHANNELS;
  const batch = images.length / stride;
  if (!Number.isInteger(batch)) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not a whole number of images', {
      field: 'images',
      expected: `a multiple of ${stride} values`,
      found: images.length,
    });
  }
  if (batch === 0) return new Float32Array(0);
  const logits = tf.tidy(() =>
    network.apply(tf.tensor4d(images, [batch, inputSize, inputSize, IMAGE_CHANNELS])),
  );
  try {
    return (await logits.data()) as Float32Array;
  } finally {
    logits.dispose();
  }
}

/** A scalar loss of the logits, and its gradient with respect to the images, [batch, inputSize, inputSize, 3]. */
export function inputGradient(
  network: Network,
  images: tf.Tensor4D,
  loss: (logits: tf.Tensor2D) => tf.Scalar,
  options: ApplyOptions = {},
): { readonly value: tf.Scalar; readonly gradient: tf.Tensor4D } {
  const { value, grad } = tf.valueAndGrad((x: tf.Tensor) =>
    loss(network.apply(x as tf.Tensor4D, options)),
  )(images);
  return { value: value as tf.Scalar, gradient: grad as tf.Tensor4D };
}
