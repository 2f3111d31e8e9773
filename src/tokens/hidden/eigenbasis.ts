import type { Matrix } from 'ml-matrix';
import { matrixLibrary } from '../../codecs/math/matrix-library.js';

/** Coefficients that do not vary together, whose errors cost the same. */
export interface Eigenbasis {
  /** [width, width], rows: what a coefficient of 1 adds to a hidden state, the one that varies most first. */
  readonly synthesis: Float64Array;
  /** [width, width], rows: coefficients are their products with a centred hidden state. */
  readonly analysis: Float64Array;
  /** [width], of coefficients. */
  readonly variances: Float64Array;
}

/** Share of the mean curvature that every direction has at least: some hardly change any distribution. */
const LEAST_CURVATURE = 1e-4;

/**
 * Eigenvectors of the covariance in the metric of `fisher`: with fisher = L L^T, coefficients are Q^T L^T h for the
 * eigenvectors Q of L^T C L. Costs about 20 width^3 operations in float64.
 *
 * @param covariance [width, width] of hidden states. @param labels that it was learnt from.
 */
export function eigenbasis(
  fisher: Float64Array,
  covariance: Float64Array,
  width: number,
  labels: number,
): Eigenbasis {
  const { CholeskyDecomposition, EigenvalueDecomposition } = matrixLibrary();
  const metric = symmetric(fisher, width);
  const trace = metric.trace();
  // A matrix of zeros has no metric at all: every direction is as good.
  const least = trace > 0 ? (LEAST_CURVATURE * trace) / width : 1;
  for (let i = 0; i < width; i++) metric.set(i, i, metric.get(i, i) + least);
  const lower = new CholeskyDecomposition(metric).lowerTriangularMatrix;
  const upper = lower.transpose();
  const rotated = upper.mmul(symmetric(covariance, width)).mmul(lower);
  // What few labels do not show may still vary.
  const unseen = rotated.trace() / (width * labels);
  const eigen = new EigenvalueDecomposition(rotated, { assumeSymmetric: true });
  const values = eigen.realEigenvalues;
  const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b);
  const vectors = eigen.eigenvectorMatrix.subMatrixColumn(order);
  const synthesis = solveUpper(upper, vectors).transpose();
  const analysis = vectors.transpose().mmul(upper);
  return {
    synthesis: Float64Array.from(synthesis.to1DArray()),
    analysis: Float64Array.from(analysis.to1DArray()),
    variances: Float64Array.from(order, (i) => Math.max(values[i], 0) + unseen),
  };
}

function symmetric(values: Float64Array, width: number): Matrix {
  const { Matrix: Dense } = matrixLibrary();
  const out = new Dense(width, width);
  for (let i = 0; i < width; i++) {
    for (let j = 0; j < width; j++) {
      out.set(i, j, (values[i * width + j] + values[j * width + i]) / 2);
    }
  }
  return out;
}

/** X with upper X = right, for an upper triangular matrix. */
function solveUpper(upper: Matrix, right: Matrix): Matrix {
  const size = upper.rows;
  const out = right.clone();
  for (let i = size - 1; i >= 0; i--) {
    const own = out.getRow(i);
    for (let k = i + 1; k < size; k++) {
      const factor = upper.get(i, k);
      const known = out.getRow(k);
      for (let j = 0; j < size; j++) own[j] -= factor * known[j];
    }
    const diagonal = upper.get(i, i);
    out.setRow(
      i,
      own.map((value) => value / diagonal),
    );
  }
  return out;
}
