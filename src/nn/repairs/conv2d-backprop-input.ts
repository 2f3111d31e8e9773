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

type ConvInfo = ReturnType<typeof tf.backend_util.computeConv2DInfo>;

/**
 * The wasm kernel is a scalar loop. The same sums are a convolution of stride 1, which is fast.
 *
 * Row s p + a of the padded dx (stride s, phase a) is the sum over u of filter row s u + a times dy row p - u. So one
 * convolution of dy yields all s x s phases as channels, and the phases are then laid out in space.
 */
export function repairConv2DBackpropInput(): void {
  repairKernel<Inputs, Attributes>(tf.Conv2DBackpropInput, ({ inputs, attrs }) => {
    const { dy, filter } = inputs;
    const { inputShape, strides, pad } = attrs;
    const info = tf.backend_util.computeConv2DInfo(inputShape, filter.shape, strides, 1, pad);
    const vertical = phaseSpan(
      info.inHeight,
      info.filterHeight,
      info.strideHeight,
      info.padInfo.top,
    );
    const horizontal = phaseSpan(
      info.inWidth,
      info.filterWidth,
      info.strideWidth,
      info.padInfo.left,
    );
    const padded = tf.pad4d(dy, [
      [0, 0],
      [vertical.taps - 1 - vertical.first, vertical.end - info.outHeight],
      [horizontal.taps - 1 - horizontal.first, horizontal.end - info.outWidth],
      [0, 0],
    ]);
    const kernel = phaseFilter(filter, info, vertical.taps, horizontal.taps);
    const pixels = layOut(tf.conv2d(padded, kernel, 1, 'valid'), info);
    if (pixels.shape[1] === info.inHeight && pixels.shape[2] === info.inWidth) return pixels;
    return tf.slice4d(pixels, [0, vertical.skip, horizontal.skip, 0], inputShape);
  });
}

/** Layout along one axis: filter taps per phase, the range of p that holds the input, and the rows to skip of the first p. */
function phaseSpan(
  size: number,
  filter: number,
  stride: number,
  padding: number,
): { readonly taps: number; readonly first: number; readonly end: number; readonly skip: number } {
  const first = Math.floor(padding / stride);
  return {
    taps: Math.ceil(filter / stride),
    first,
    end: Math.ceil((padding + size) / stride),
    skip: padding - first * stride,
  };
}

/** [rows, columns, outChannels, strideHeight * strideWidth * inChannels]: the filter of every phase, turned around. */
function phaseFilter(
  filter: tf.Tensor4D,
  info: ConvInfo,
  rows: number,
  columns: number,
): tf.Tensor4D {
  const { filterHeight, filterWidth, strideHeight, strideWidth, inChannels, outChannels } = info;
  const whole = tf.pad4d(filter, [
    [0, rows * strideHeight - filterHeight],
    [0, columns * strideWidth - filterWidth],
    [0, 0],
    [0, 0],
  ]);
  const width = strideHeight * strideWidth * inChannels;
  const taps: tf.Tensor2D[] = [];
  // Slices and 2-D transposes are fast on this backend; its Reverse and its transposes of higher rank are not.
  for (let row = rows - 1; row >= 0; row--) {
    for (let column = columns - 1; column >= 0; column--) {
      const tap = tf.slice4d(
        whole,
        [row * strideHeight, column * strideWidth, 0, 0],
        [strideHeight, strideWidth, inChannels, outChannels],
      );
      taps.push(tap.reshape([width, outChannels]).transpose());
    }
  }
  return tf.concat(taps, 0).reshape([rows, columns, outChannels, width]);
}

/** Phases as channels, [batch, p, q, strides * channels], to pixels, [batch, p strideHeight, q strideWidth, channels]. */
function layOut(phases: tf.Tensor4D, info: ConvInfo): tf.Tensor4D {
  const { strideHeight, strideWidth, inChannels } = info;
  if (strideHeight === 1 && strideWidth === 1) return phases;
  const [batch, p, q] = phases.shape;
  return phases
    .reshape([batch, p, q, strideHeight, strideWidth * inChannels])
    .transpose([0, 1, 3, 2, 4])
    .reshape([batch, p * strideHeight, q * strideWidth, inChannels]);
}
