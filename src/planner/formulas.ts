/**
 * Sizes of soft labels in bytes by the paper's formulas (supplement, equations S11 to S17): codes and what the
 * decoder needs, at the paper's precisions, fractions of a bit included. They leave out augmentation records,
 * class names, container and images; `predictArchive` counts all but the last.
 */

/** A set of soft labels: one a distilled sample and epoch. */
export interface LabelSet {
  /** C. */
  readonly classes: number;
  /** IPC * C * EPOCHS. */
  readonly labels: number;
}

/** Labels of `ipc` images a class in `epochs` epochs (the paper: 300). */
export function labelSet(classes: number, ipc: number, epochs = 300): LabelSet {
  return { classes, labels: ipc * classes * epochs };
}

/** S11: float16 probabilities. */
export function fullBytes({ classes, labels }: LabelSet): number {
  return labels * classes * 2;
}

/** S12: codes, float32 decoder D and codebook mu. */
export function vqaeBytes(
  { classes, labels }: LabelSet,
  { dh, dc, k }: { readonly dh: number; readonly dc: number; readonly k: number },
): number {
  return (labels * (dh / dc) * Math.log2(k)) / 8 + classes * dh * 4 + k * dc * 4;
}

/** S15: k float16 probabilities and as many class ids of log2 C bits. */
export function topKBytes({ classes, labels }: LabelSet, k: number): number {
  return labels * (2 * k + (k * Math.log2(classes)) / 8);
}

/** S16: k float16 coefficients a label, k float16 components; the same for robust PCA. */
export function principalBytes({ classes, labels }: LabelSet, k: number): number {
  return labels * 2 * k + k * classes * 2;
}

/** S17: log2 k bits a class, k float16 levels. */
export function scalarBytes({ classes, labels }: LabelSet, k: number): number {
  return (labels * classes * Math.log2(k)) / 8 + 2 * k;
}

/** LPLD: full labels of the first 1/n of all batches. */
export function prunedBytes(set: LabelSet, n: number): number {
  return fullBytes(set) / n;
}

/** S14 with its constant: what the VQAE's ratio tends to as labels grow without bound, at dh = C. */
export function limitRatio({ dc, k }: { readonly dc: number; readonly k: number }): number {
  return (16 * dc) / Math.log2(k);
}

/** The paper's MB and GB are powers of 1024. */
export const MEBIBYTE = 2 ** 20;
export const GIBIBYTE = 2 ** 30;
