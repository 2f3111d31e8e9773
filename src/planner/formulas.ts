import type { PaperLabels } from '../codecs/descriptor.js';

/**
 * Sizes of soft labels in bytes by the paper's formulas (supplement, equations S11 to S17): codes and what the
 * decoder needs, at the paper's precisions, fractions of a bit included. They leave out augmentation records,
 * class names, container and images; `predictArchive` counts all but the last. Formulas of codecs are in their
 * descriptors.
 */

/** Labels of `ipc` images per class in `epochs` epochs (the paper: 300). */
export function paperLabels(classes: number, ipc: number, epochs = 300): PaperLabels {
  return { classes, labels: ipc * classes * epochs };
}

/** S11: float16 probabilities. */
export function fullBytes({ classes, labels }: PaperLabels): number {
  return labels * classes * 2;
}

/** LPLD: full labels of the first 1/n of all batches. */
export function prunedBytes(set: PaperLabels, n: number): number {
  return fullBytes(set) / n;
}
