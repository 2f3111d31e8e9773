import * as tf from '@tensorflow/tfjs';
import { repairKernel } from './register.js';

interface Inputs {
  readonly x: tf.Tensor4D;
  readonly dy: tf.Tensor4D;
}
interface Attributes {
  readonly filterShape: [number, number, number, number];
  readonly strides: number | [number, number];
  readonly pad: 'same' | 'valid' | number;
}
type ConvInfo = ReturnType<typeof tf.backend_util.computeConv2DInfo>;

/** Input channels up to which columns (a copy of few channels per tap) beat a convolution of few images. */
const COLUMNS_CHANNELS = 8;

/** Kernel that the wasm backend lacks; without it no convolution can be trained. */
export function repairConv2DBackpropFilter(): void {
  repairKernel<Inputs, Attributes>(tf.Conv2DBackpropFilter, ({ inputs, attrs }) => {
    const { x, dy } = inputs;
    const { filterShape, strides, pad } = attrs;
    const info = tf.backend_util.computeConv2DInfo(x.shape, filterShape, strides, 1, pad);
    const plain = info.strideHeight === 1 && info.strideWidth === 1;
    if (plain && info.filterHeight === 1 && info.filterWidth === 1) return byProduct(x, dy);
    if (plain && info.inChannels <= COLUMNS_CHANNELS) return byColumns(x, dy, info);
    return byConvolution(x, dy, info);
  });
}

/** 1x1: dW = X^T dY over all pixels. */
function byProduct(x: tf.Tensor4D, dy: tf.Tensor4D): tf.Tensor {
  const [from, to] = [x.shape[3], dy.shape[3]];
  const product = tf.matMul(x.reshape([-1, from]), dy.reshape([-1, to]), true, false);
  return product.reshape([1, 1, from, to]);
}

/** Stride 1: dW as one product of the taps' shifted images, [taps * channels, pixels], with dy, [pixels, outputs]. */
function byColumns(x: tf.Tensor4D, dy: tf.Tensor4D, info: ConvInfo): tf.Tensor {
  const { batchSize, inChannels, outChannels, filterHeight, filterWidth } = info;
  const { outHeight, outWidth } = info;
  const byChannel = padImages(x, info).transpose<tf.Tensor4D>([3, 0, 1, 2]);
  const pixels = batchSize * outHeight * outWidth;
  const columns: tf.Tensor2D[] = [];
  for (let i = 0; i < filterHeight; i++) {
    for (let j = 0; j < filterWidth; j++) {
      const tap = tf.slice4d(byChannel, [0, 0, i, j], [inChannels, batchSize, outHeight, outWidth]);
      columns.push(tap.reshape([inChannels, pixels]));
    }
  }
  const product = tf.matMul(tf.concat(columns, 0), dy.reshape([pixels, outChannels]));
  return product.reshape([filterHeight, filterWidth, inChannels, outChannels]);
}

/**
 * dW as a convolution: input channels play the images, samples the channels, and dy is the filter, dilated by
 * the stride. Its output is [inChannels, filterHeight, filterWidth, outChannels].
 */
function byConvolution(x: tf.Tensor4D, dy: tf.Tensor4D, info: ConvInfo): tf.Tensor {
  const images = padImages(x, info).transpose<tf.Tensor4D>([3, 1, 2, 0]);
  const filter = dy.transpose<tf.Tensor4D>([1, 2, 0, 3]);
  const dilations: [number, number] = [info.strideHeight, info.strideWidth];
  const sums = tf.conv2d(images, filter, 1, 'valid', 'NHWC', dilations);
  const { inChannels, outChannels, filterHeight, filterWidth } = info;
  // Rows and columns that no stride reaches leave sums beyond the filter's size.
  const inside = sums.slice([0, 0, 0, 0], [inChannels, filterHeight, filterWidth, outChannels]);
  return inside.transpose([1, 2, 0, 3]);
}

function padImages(x: tf.Tensor4D, { padInfo }: ConvInfo): tf.Tensor4D {
  const { top, bottom, left, right } = padInfo;
  if (top + bottom + left + right === 0) return x;
  return tf.pad4d(x, [
    [0, 0],
    [top, bottom],
    [left, right],
    [0, 0],
  ]);
}
