import * as tf from '@tensorflow/tfjs';
import { SoftpackError } from '../../errors.js';
import type { DifferentiableNetwork } from '../../nn/network.js';

/** Each image's own mean and biased variance per channel of all taps: [images, channels of all taps]. */
export interface ImageMoments {
  readonly mean: Float32Array;
  readonly variance: Float32Array;
}

export interface TapShape {
  readonly name: string;
  readonly channels: number;
}

/** Shapes of the taps for images of this size, found by showing the network a grey one. */
export function tapShapes(
  network: DifferentiableNetwork,
  [height, width]: readonly [number, number],
): readonly TapShape[] {
  const shapes: TapShape[] = [];
  const tap = (name: string, { shape, rank }: tf.Tensor) => {
    shapes.push({ name, channels: shape[rank - 1] });
  };
  tf.tidy(() => {
    network.apply(tf.zeros<tf.Rank.R4>([1, height, width, 3]), tap);
  });
  return shapes;
}

/** @throws `NON_FINITE` naming the first image whose features are not finite. */
export async function imageMoments(
  network: DifferentiableNetwork,
  images: Float32Array,
  [height, width]: readonly [number, number],
  ids: readonly number[],
): Promise<ImageMoments> {
  const count = ids.length;
  const kept: { mean: tf.Tensor2D; variance: tf.Tensor2D }[] = [];
  const tap = (_: string, features: tf.Tensor) => {
    const channels = features.shape[features.rank - 1];
    const { mean, variance } = tf.tidy(() => momentsOf(features.reshape([count, -1, channels])));
    kept.push({ mean: tf.keep(mean), variance: tf.keep(variance) });
  };
  const [mean, variance] = tf.tidy(() => {
    network.apply(tf.tensor4d(images, [count, height, width, 3]), tap);
    const joined = (part: 'mean' | 'variance') =>
      tf.concat2d(
        kept.map((moments) => moments[part]),
        1,
      );
    return [joined('mean'), joined('variance')];
  });
  try {
    const moments = {
      mean: (await mean.data()) as Float32Array,
      variance: (await variance.data()) as Float32Array,
    };
    requireFinite(moments, ids);
    return moments;
  } finally {
    tf.dispose([mean, variance, kept]);
  }
}

/** Products with ones: sums over an inner axis are slow on some backends. */
function momentsOf(features: tf.Tensor3D) {
  const [images, positions, channels] = features.shape;
  const ones = tf.ones<tf.Rank.R3>([images, 1, positions]);
  const mean = tf.matMul(ones, features).div<tf.Tensor3D>(positions);
  const squares = tf.matMul(ones, features.sub<tf.Tensor3D>(mean).square());
  return {
    mean: mean.reshape<tf.Tensor2D>([images, channels]),
    variance: squares.div(positions).reshape<tf.Tensor2D>([images, channels]),
  };
}

function requireFinite({ mean, variance }: ImageMoments, ids: readonly number[]): void {
  const bad = variance.findIndex((value, i) => !Number.isFinite(value + mean[i]));
  if (bad < 0) return;
  throw new SoftpackError('NON_FINITE', "the teacher's features are not finite", {
    field: `image ${ids[Math.floor((bad * ids.length) / mean.length)]}`,
    found: mean[bad],
  });
}
