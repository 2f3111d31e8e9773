import * as tf from '@tensorflow/tfjs';
import type { Box } from '../augment/record.js';

/** Crop, resize, mirror and cyclic shift of images: they act on rows and columns apart, each as a matrix. */
export interface CropView {
  /** (top, left, height, width), pixels. */
  readonly crop: Box;
  readonly flip: boolean;
  /** Pixels down and to the right, around the edges. */
  readonly shift: readonly [number, number];
}

/**
 * The view of images [batch, height, width, 3]; differentiable. `tf.image.resizeBilinear` with half-pixel centres would do the
 * resizing, but its gradient is that of other centres on every backend of TensorFlow.js 4.22.
 */
export function applyView(images: tf.Tensor4D, view: CropView): tf.Tensor4D {
  return tf.tidy(() => {
    const [batch, height, width] = images.shape;
    const { crop, flip, shift } = view;
    const rows = axisMatrix(height, crop[0], crop[2], shift[0], false);
    const columns = axisMatrix(width, crop[1], crop[3], shift[1], flip);
    const rowsFirst = images.transpose([1, 0, 2, 3]).reshape<tf.Tensor2D>([height, -1]);
    const down = tf
      .matMul(tf.tensor2d(rows, [height, height]), rowsFirst)
      .reshape<tf.Tensor4D>([height, batch, width, 3]);
    const columnsFirst = down.transpose([2, 0, 1, 3]).reshape<tf.Tensor2D>([width, -1]);
    const across = tf
      .matMul(tf.tensor2d(columns, [width, width]), columnsFirst)
      .reshape<tf.Tensor4D>([width, height, batch, 3]);
    return across.transpose([2, 1, 0, 3]);
  });
}

/** [size, size]: a row per output pixel with the weights of at most two input pixels, both within the crop. */
export function axisMatrix(
  size: number,
  start: number,
  length: number,
  shift: number,
  flip: boolean,
): Float32Array {
  const matrix = new Float32Array(size * size);
  for (let i = 0; i < size; i++) {
    const at = ((i + 0.5) * length) / size - 0.5;
    const clamped = Math.min(Math.max(at, 0), length - 1);
    const low = Math.floor(clamped);
    const high = Math.min(low + 1, length - 1);
    const mirrored = flip ? size - 1 - i : i;
    const row = ((mirrored + shift) % size) * size;
    matrix[row + start + low] += 1 - (clamped - low);
    matrix[row + start + high] += clamped - low;
  }
  return matrix;
}
