import type { Normalisation, Rendering } from '../../augment/replay.js';
import type { DifferentiableNetwork } from '../network.js';

/** Anything that gives logits for images, from which soft labels are made. */
export interface Teacher extends Disposable {
  /** c, length of a row of logits. */
  readonly classes: number;
  /** One name per class, if the model or its description has them. */
  readonly classNames?: readonly string[];
  /** Height and width of the images, pixels. */
  readonly size: readonly [number, number];
  /** Normalisation of pixels that the network expects. */
  readonly normalisation: Normalisation;
  /** Resizing of the images that the network was trained on, if it is known. */
  readonly rendering?: Rendering;
  /** Identifies this teacher in the manifest of archives made with it. */
  readonly fingerprint: Readonly<Record<string, unknown>>;
  /** Logits [count, classes] of normalised float32 images [count, height, width, 3]. */
  logits(images: Float32Array): Promise<Float32Array>;
  /** For kinds that TensorFlow.js can differentiate: softpack's own networks, layers and graph models. */
  readonly network?: DifferentiableNetwork;
}
