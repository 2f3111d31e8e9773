import * as tf from '@tensorflow/tfjs';
import { errorMessage, invalidFile, isSoftpackError } from '../../errors.js';
import { channelsOf } from './network-teacher.js';
import type { TeacherShape } from './shape.js';

/** The output of a model that gives the labels. */
export interface ModelOutput {
  readonly name: string;
  /** Among all outputs. */
  readonly index: number;
}

/** Runs the TensorFlow.js model of a file on images in its own layout and frees every tensor. */
export async function runOnTensor(
  path: string,
  shape: TeacherShape,
  images: Float32Array,
  count: number,
  predict: (input: tf.Tensor4D) => unknown,
  output: ModelOutput,
): Promise<Float32Array> {
  const [height, width] = shape.size;
  const channels = channelsOf(shape);
  const axes: [number, number, number, number] =
    shape.layout === 'nhwc' ? [count, height, width, channels] : [count, channels, height, width];
  const logits = tf.tidy(() => {
    const found = running(path, () => predict(tf.tensor4d(images, axes)));
    if (found instanceof tf.Tensor) return found;
    // A list, or a map by name, as SavedModels give it.
    const named = found as Readonly<Record<string, tf.Tensor>>;
    return named[output.name] ?? Object.values(named)[output.index];
  });
  try {
    return (await logits.data()) as Float32Array;
  } finally {
    logits.dispose();
  }
}

/** A graph may load and still not run, e.g. if a node that it needs is missing. */
function running<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (isSoftpackError(cause)) throw cause;
    const found = errorMessage(cause);
    throw invalidFile(path, 'model', 'TensorFlow.js cannot run it', { found, cause });
  }
}
