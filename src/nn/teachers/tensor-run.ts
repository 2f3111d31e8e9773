import * as tf from '@tensorflow/tfjs';
import type { TeacherShape } from './description.js';

/** Runs a TensorFlow.js model on images in its own layout, and frees every tensor of it. */
export async function runOnTensor(
  { size: [height, width], layout }: TeacherShape,
  images: Float32Array,
  count: number,
  predict: (input: tf.Tensor4D) => unknown,
): Promise<Float32Array> {
  const axes: [number, number, number, number] =
    layout === 'nhwc' ? [count, height, width, 3] : [count, 3, height, width];
  const output = tf.tidy(() => {
    const found = predict(tf.tensor4d(images, axes));
    if (found instanceof tf.Tensor) return found;
    // A list or a map of one tensor, as SavedModels give it.
    return Object.values(found as Record<string, tf.Tensor>)[0];
  });
  try {
    return (await output.data()) as Float32Array;
  } finally {
    output.dispose();
  }
}
