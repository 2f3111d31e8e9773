import * as tf from '@tensorflow/tfjs';
import { repairKernel } from './register.js';

interface Inputs {
  readonly dy: tf.Tensor4D;
  readonly filter: tf.Tensor4D;
}
interface Attributes {
  readonly inputShape: [number, number, number, number];
  readonly strides: number | [number, number];
  readonly pad: 'same' | 'valid' | number;
}

/**
 * The wasm kernel is a scalar loop. The same sums are a convolution, which is fast: of dy, with zeros between its
 * rows and columns for strides above 1, and the filter turned half around with its channels swapped.
 */
export function repairConv2DBackpropInput(): void {
  repairKernel<Inputs, Attributes>(tf.Conv2DBackpropInput, ({ inputs, attrs }) => {
    const { dy, filter } = inputs;
    const { inputShape, strides, pad } = attrs;
    const info = tf.backend_util.computeConv2DInfo(inputShape, filter.shape, strides, 1, pad);
    const { inHeight, inWidth, filterHeight, filterWidth } = info;
    const spread = insertZeros(dy, info.strideHeight, info.strideWidth);
    // Row r of dx gathers dy rows r + padTop - i of the spread dy, i in [0, filterHeight).
    const top = filterHeight - 1 - info.padInfo.top;
    const left = filterWidth - 1 - info.padInfo.left;
    const bottom = inHeight + filterHeight - 1 - top - spread.shape[1];
    const right = inWidth + filterWidth - 1 - left - spread.shape[2];
    const padded = padOrCrop(spread, [top, bottom], [left, right]);
    const turned = filter.reverse([0, 1]).transpose<tf.Tensor4D>([0, 1, 3, 2]);
    return tf.conv2d(padded, turned, 1, 'valid');
  });
}

function insertZeros(x: tf.Tensor4D, rows: number, columns: number): tf.Tensor4D {
  if (rows === 1 && columns === 1) return x;
  const [batch, height, width, channels] = x.shape;
  const spread = tf.pad(x.reshape([batch, height, 1, width, 1, channels]), [
    [0, 0],
    [0, 0],
    [0, rows - 1],
    [0, 0],
    [0, columns - 1],
    [0, 0],
  ]);
  return spread.reshape([batch, height * rows, width * columns, channels]);
}

/** Adds zeros before and after rows and columns, or cuts them off where the number is negative. */
function padOrCrop(
  x: tf.Tensor4D,
  rows: readonly [number, number],
  columns: readonly [number, number],
): tf.Tensor4D {
  const crop = (n: number): number => Math.max(0, -n);
  const grow = (n: number): number => Math.max(0, n);
  const [batch, height, width, channels] = x.shape;
  const inner =
    Math.min(...rows, ...columns) >= 0
      ? x
      : tf.slice4d(
          x,
          [0, crop(rows[0]), crop(columns[0]), 0],
          [
            batch,
            height - crop(rows[0]) - crop(rows[1]),
            width - crop(columns[0]) - crop(columns[1]),
            channels,
          ],
        );
  return tf.pad4d(inner, [
    [0, 0],
    [grow(rows[0]), grow(rows[1])],
    [grow(columns[0]), grow(columns[1])],
    [0, 0],
  ]);
}
