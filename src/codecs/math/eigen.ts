import type { RandomSequence } from '../../core/random.js';
import type { Kernels } from '../../kernels/types.js';
import { matrixLibrary } from './matrix-library.js';

export interface PrincipalComponents {
  /** [rank, size], orthonormal rows, largest variance first. */
  readonly components: Float32Array;
  /** [rank], the variance along each row. */
  readonly variances: Float64Array;
  readonly rank: number;
}

/** Orthogonal iterations: error falls by (variance[rank] / variance[i]) with each; labels decay fast. */
const ITERATIONS = 8;

/**
 * Leading eigenvectors of the symmetric matrix `covariance` [size, size] by orthogonal iteration and a
 * Rayleigh-Ritz step. Cost: ITERATIONS * 2 size^2 rank flops on the kernels, and size rank^2 here.
 */
export async function principalComponents(
  covariance: Float32Array,
  size: number,
  rank: number,
  kernels: Kernels,
  random: RandomSequence,
): Promise<PrincipalComponents> {
  // Row-major [rank, size]: a component is contiguous, and Q C = (C Q^T)^T because C is symmetric.
  let rows = Float32Array.from({ length: rank * size }, () => random.normal());
  const image = new Float32Array(rank * size);
  const multiply = () =>
    kernels.projectAsync({
      a: rows,
      b: covariance,
      out: image,
      rows: rank,
      inner: size,
      columns: size,
    });
  orthonormalise(rows, rank, size, random);
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    await multiply();
    rows = image.slice();
    orthonormalise(rows, rank, size, random);
  }
  await multiply();
  const reduced = new Float32Array(rank * rank);
  await kernels.projectAsync({
    a: image,
    b: rows,
    out: reduced,
    rows: rank,
    inner: size,
    columns: rank,
    transposeB: true,
  });
  const { order, vectors, values } = symmetricEigen(reduced, rank);
  const rotation = new Float32Array(rank * rank);
  for (const [i, from] of order.entries()) {
    for (let j = 0; j < rank; j++) rotation[i * rank + j] = vectors.get(j, from);
  }
  const components = new Float32Array(rank * size);
  await kernels.projectAsync({
    a: rotation,
    b: rows,
    out: components,
    rows: rank,
    inner: rank,
    columns: size,
  });
  return { components, variances: Float64Array.from(order, (i) => Math.max(values[i], 0)), rank };
}

export function symmetricEigen(matrix: Float32Array, size: number) {
  const { EigenvalueDecomposition, Matrix } = matrixLibrary();
  const full = new Matrix(size, size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      full.set(i, j, (matrix[i * size + j] + matrix[j * size + i]) / 2);
    }
  }
  const eigen = new EigenvalueDecomposition(full, { assumeSymmetric: true });
  const values = eigen.realEigenvalues;
  const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
  return { order, values, vectors: eigen.eigenvectorMatrix };
}

/** Modified Gram-Schmidt, twice over for orthogonality to rounding; a vanishing row becomes a random one. */
function orthonormalise(
  rows: Float32Array,
  rank: number,
  size: number,
  random: RandomSequence,
): void {
  for (let i = 0; i < rank; i++) {
    const row = rows.subarray(i * size, (i + 1) * size);
    const before = normalise(row);
    if (before < Number.MIN_VALUE) row.set(Float32Array.from(row, () => random.normal()));
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) subtractProjection(row, rows.subarray(j * size, (j + 1) * size));
      if (normalise(row) >= 1e-6) continue;
      row.set(Float32Array.from(row, () => random.normal()));
      pass = -1;
    }
  }
}

function subtractProjection(row: Float32Array, unitRow: Float32Array): void {
  let dot = 0;
  for (let i = 0; i < row.length; i++) dot += row[i] * unitRow[i];
  for (let i = 0; i < row.length; i++) row[i] -= dot * unitRow[i];
}

/** Scales to unit length and returns the former length. */
function normalise(row: Float32Array): number {
  let square = 0;
  for (let i = 0; i < row.length; i++) square += row[i] * row[i];
  const length = Math.sqrt(square);
  if (length > 0) for (let i = 0; i < row.length; i++) row[i] /= length;
  return length;
}
