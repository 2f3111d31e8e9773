import { principalComponents } from '../codecs/math/eigen.js';
import { gaussianRate } from '../codecs/math/gaussian-rate.js';
import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { loadKernels } from '../kernels/load.js';

export interface BoundPoint {
  /** Error as a share of the energy of centred logits, as `LabelDivergence` measures it. */
  readonly nmse: number;
  /** Bits per label that a Gaussian source of these labels' covariance needs at least. */
  readonly bits: number;
}

/** Directions that are looked at one by one; the others count as cheaply as they can. */
const DIRECTIONS = 96;

/**
 * Gaussian rate-distortion bound of labels at some errors.
 *
 * @param logits centred logits, [rows, classes]; changed in place. @param errors shares of their energy.
 */
export async function gaussianBound(
  logits: Float32Array,
  classes: number,
  errors: readonly number[],
): Promise<readonly BoundPoint[]> {
  const rows = logits.length / classes;
  const energy = sumOfSquares(logits) / rows;
  subtractMeanRow(logits, rows, classes);
  const total = sumOfSquares(logits) / rows;
  if (rows < 2 || !(total > 0)) return [];
  // X X^T / n and X^T X / n have the same eigenvalues: take the smaller one.
  const size = Math.min(rows, classes);
  const covariance = new Float32Array(size * size);
  const kernels = loadKernels();
  const shape =
    rows <= classes
      ? { rows, inner: classes, columns: rows, transposeB: true }
      : { rows: classes, inner: rows, columns: classes, transposeA: true };
  await kernels.projectAsync({ a: logits, b: logits, out: covariance, ...shape });
  for (let i = 0; i < covariance.length; i++) covariance[i] /= rows;
  const rank = Math.min(size, DIRECTIONS);
  const random = new RandomSequence(0, STREAM.codec);
  const { variances } = await principalComponents(covariance, size, rank, kernels, random);
  const known = variances.reduce((sum, variance) => sum + variance, 0);
  const rest = Math.max(0, total - known);
  return errors.map((nmse) => ({
    nmse,
    bits: gaussianRate([...variances], rest, nmse * energy),
  }));
}

function sumOfSquares(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value * value, 0);
}

function subtractMeanRow(matrix: Float32Array, rows: number, columns: number): void {
  const mean = new Float64Array(columns);
  for (const [i, value] of matrix.entries()) mean[i % columns] += value / rows;
  for (let i = 0; i < matrix.length; i++) matrix[i] -= mean[i % columns];
}
