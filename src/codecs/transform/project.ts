import type { Kernels } from '../../kernels/types.js';
import { matrixLibrary } from '../math/matrix-library.js';

/** A label's lowest logits count as this many temperatures below its highest, as in the kernels' softmax. */
const DEEPEST = 87;

/**
 * Turns logits into what components are made for: row by row limited from below and centred, less the mean label.
 * Masked classes would otherwise outweigh all others.
 */
export function centreLogits(
  logits: Float32Array,
  classes: number,
  tau: number,
  kernels: Kernels,
  options: {
    readonly mean?: Float32Array;
    readonly threads?: number;
    readonly out?: Float32Array;
  } = {},
): Float32Array {
  const { mean, threads, out = new Float32Array(logits.length) } = options;
  const depth = DEEPEST * tau;
  kernels.centreLogits({ logits, classes, depth, ...(mean && { mean }), out, threads });
  return out;
}

/**
 * The matrix [rank, classes] whose products with a label are its coefficients of least squares: the components are
 * rounded, so no longer exactly orthogonal.
 */
export function dualOf(components: Float32Array, rank: number, classes: number): Float32Array {
  const rows = Array.from({ length: rank }, (_, j) =>
    components.subarray(j * classes, (j + 1) * classes),
  );
  const { Matrix, solve } = matrixLibrary();
  const gram = new Matrix(rank, rank);
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < classes; k++) sum += rows[i][k] * rows[j][k];
      gram.set(i, j, sum);
      gram.set(j, i, sum);
    }
  }
  // Components that were rounded to nothing have coefficients of zero.
  for (let i = 0; i < rank; i++) gram.set(i, i, gram.get(i, i) + 1e-6);
  const inverse = solve(gram, Matrix.eye(rank));
  const dual = new Float32Array(rank * classes);
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j < rank; j++) {
      const factor = inverse.get(i, j);
      for (let k = 0; k < classes; k++) dual[i * classes + k] += factor * rows[j][k];
    }
  }
  return dual;
}
