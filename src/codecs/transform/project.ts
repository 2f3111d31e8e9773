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
  mean?: Float32Array,
): Float32Array {
  const out = new Float32Array(logits.length);
  for (let begin = 0; begin < logits.length; begin += classes) {
    let most = Number.NEGATIVE_INFINITY;
    for (let j = 0; j < classes; j++) most = Math.max(most, logits[begin + j]);
    const least = most - DEEPEST * tau;
    let sum = 0;
    for (let j = 0; j < classes; j++) sum += Math.max(logits[begin + j], least);
    const centre = sum / classes;
    for (let j = 0; j < classes; j++) {
      out[begin + j] = Math.max(logits[begin + j], least) - centre - (mean?.[j] ?? 0);
    }
  }
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
