import * as tf from '@tensorflow/tfjs';
import { errorMessage, invalidFile, SoftpackError } from '../../errors.js';
import type { TeacherShape } from './description.js';

/** Runs the TensorFlow.js model of a file on images in its own layout, and frees every tensor of it. */
export async function runOnTensor(
  path: string,
  { size: [height, width], layout }: TeacherShape,
  images: Float32Array,
  count: number,
  predict: (input: tf.Tensor4D) => unknown,
): Promise<Float32Array> {
  const axes: [number, number, number, number] =
    layout === 'nhwc' ? [count, height, width, 3] : [count, 3, height, width];
  const output = tf.tidy(() => {
    const found = running(path, () => predict(tf.tensor4d(images, axes)));
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

/** A graph may load and still not run, e.g. if a node that it needs is missing. */
function running<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (cause instanceof SoftpackError) throw cause;
    const found = errorMessage(cause);
    throw invalidFile(path, 'model', 'TensorFlow.js cannot run it', { found, cause });
  }
}
