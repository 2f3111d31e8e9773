import type { Normalisation, Rendering } from '../../augment/replay.js';

/** Anything that gives logits for images: what soft labels are made from. */
export interface Teacher extends Disposable {
  /** c, length of a row of logits. */
  readonly classes: number;
  /** One name a class, where the model or its description tells them. */
  readonly classNames?: readonly string[];
  /** Height and width of the images, pixels. */
  readonly size: readonly [number, number];
  /** What the network expects of its pixels. */
  readonly normalisation: Normalisation;
  /** How the images that the network was trained on were resized, if it is known. */
  readonly rendering?: Rendering;
  /** What tells this teacher from others, for the manifest of archives made with it. */
  readonly fingerprint: Readonly<Record<string, unknown>>;
  /** Logits [count, classes] of normalised float32 images [count, height, width, 3]. */
  logits(images: Float32Array): Promise<Float32Array>;
}
