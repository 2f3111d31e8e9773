import * as tf from '@tensorflow/tfjs';
import { repairKernel } from './register.js';

interface Inputs {
  readonly dy: tf.Tensor4D;
  readonly input: tf.Tensor4D;
  readonly output: tf.Tensor4D;
}
interface Attributes {
  readonly filterSize: number | [number, number];
  readonly strides: number | [number, number];
  readonly pad: 'same' | 'valid';
}

/**
 * The wasm kernel looks for each window's maximum from the smallest positive number on, so that a window without
 * positive values loses its gradient. Raising all values above 1 does not move the maximum.
 */
export function repairMaxPoolGrad(): void {
  repairKernel<Inputs, Attributes>(tf.MaxPoolGrad, ({ inputs, attrs }, original) => {
    const { dy, input, output } = inputs;
    const lift = tf.sub(1, input.min());
    return original({ dy, input: input.add(lift), output: output.add(lift) }, attrs);
  });
}
