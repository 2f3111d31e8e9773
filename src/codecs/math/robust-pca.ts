import type { RandomSequence } from '../../core/random.js';
import type { Kernels } from '../../kernels/types.js';
import { principalComponents } from './eigen.js';

export interface RobustOptions {
  /** Most components that the low-rank part may have. */
  readonly rank: number;
  /** Weight of the sparse part's l1 norm; default 1 / sqrt(max(rows, columns)) (Candes et al. 2011). */
  readonly lambda?: number;
  /** Stop when ||M - L - S|| is this share of ||M||; default 1e-5, about what float32 products allow. */
  readonly tolerance?: number;
  readonly iterations?: number;
  readonly onProgress?: (iteration: number, iterations: number, error: number) => void;
}

export interface RobustDecomposition {
  /** L, [rows, columns]. */
  readonly lowRank: Float32Array;
  /** S, [rows, columns]. */
  readonly sparse: Float32Array;
  /** Right singular vectors of L, [rank, columns], largest singular value first. */
  readonly components: Float32Array;
  /** Singular values of L above zero come first. */
  readonly singularValues: Float64Array;
  readonly iterations: number;
  /** ||M - L - S|| / ||M||. */
  readonly error: number;
}

/** Growth of the penalty each iteration (Lin, Chen and Ma 2010, section 4). */
const GROWTH = 1.5;

/**
 * Principal component pursuit, min ||L||_* + lambda ||S||_1 with M = L + S, by the inexact augmented Lagrangian
 * method (Lin, Chen and Ma 2010, algorithm 5). The singular values are thresholded through the eigenvectors of
 * the Gram matrix, of which the leading `rank` are computed.
 *
 * Cost per iteration: 2 rows columns^2 flops on the kernels.
 */
export async function robustDecomposition(
  matrix: Float32Array,
  columns: number,
  options: RobustOptions,
  kernels: Kernels,
  random: RandomSequence,
): Promise<RobustDecomposition> {
  const rows = matrix.length / columns;
  const rank = Math.min(options.rank, rows, columns);
  const { lambda = 1 / Math.sqrt(Math.max(rows, columns)), tolerance = 1e-5 } = options;
  const most = options.iterations ?? 100;
  const norm = frobenius(matrix);
  const sparse = new Float32Array(matrix.length);
  const lowRank = new Float32Array(matrix.length);
  if (norm === 0) {
    const components = new Float32Array(rank * columns);
    const singularValues = new Float64Array(rank);
    return { lowRank, sparse, components, singularValues, iterations: 0, error: 0 };
  }
  const shape = { rows, columns, rank, kernels, random };
  const spectral = (await rightSingular(matrix, { ...shape, rank: 1 })).singularValues[0];
  const largest = matrix.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  // The multiplier starts dual feasible.
  const dual = Math.max(spectral, largest / lambda);
  const multiplier = matrix.map((value) => value / dual);
  let penalty = 1.25 / spectral;
  const greatestPenalty = penalty * 1e7;
  const work = new Float32Array(matrix.length);
  let found: Singular = { components: new Float32Array(0), singularValues: new Float64Array(0) };
  let [iteration, error] = [0, 1];
  while (iteration < most && error > tolerance) {
    for (let i = 0; i < work.length; i++) {
      const rest = matrix[i] - lowRank[i] + multiplier[i] / penalty;
      sparse[i] = shrink(rest, lambda / penalty);
      work[i] = matrix[i] - sparse[i] + multiplier[i] / penalty;
    }
    found = await rightSingular(work, shape);
    await threshold(work, found, 1 / penalty, lowRank, shape);
    let residual = 0;
    for (let i = 0; i < work.length; i++) {
      const left = matrix[i] - lowRank[i] - sparse[i];
      multiplier[i] += penalty * left;
      residual += left * left;
    }
    const kept = found.singularValues.map((value) => Math.max(0, value - 1 / penalty));
    found = { components: found.components, singularValues: kept };
    penalty = Math.min(penalty * GROWTH, greatestPenalty);
    error = Math.sqrt(residual) / norm;
    iteration++;
    options.onProgress?.(iteration, most, error);
  }
  return { lowRank, sparse, ...found, iterations: iteration, error };
}

interface Shape {
  readonly rows: number;
  readonly columns: number;
  readonly rank: number;
  readonly kernels: Kernels;
  readonly random: RandomSequence;
}

interface Singular {
  readonly components: Float32Array;
  readonly singularValues: Float64Array;
}

async function rightSingular(
  a: Float32Array,
  { rows, columns, rank, kernels, random }: Shape,
): Promise<Singular> {
  const gram = new Float32Array(columns * columns);
  const product = { rows: columns, inner: rows, columns, transposeA: true };
  await kernels.projectAsync({ a, b: a, out: gram, ...product });
  const found = await principalComponents(gram, columns, rank, kernels, random);
  return { components: found.components, singularValues: found.variances.map(Math.sqrt) };
}

/** out = a V diag(max(0, 1 - limit / sigma)) V^T: a with its singular values lowered by `limit`, but not below 0. */
async function threshold(
  a: Float32Array,
  { components, singularValues }: Singular,
  limit: number,
  out: Float32Array,
  { rows, columns, kernels }: Shape,
): Promise<void> {
  // At least one: the product needs a matrix. Its factor may be 0.
  const kept = Math.max(1, singularValues.filter((value) => value > limit).length);
  const basis = components.subarray(0, kept * columns);
  const coefficients = new Float32Array(rows * kept);
  await kernels.projectAsync({
    ...{ a, b: basis, out: coefficients },
    ...{ rows, inner: columns, columns: kept, transposeB: true },
  });
  for (let i = 0; i < coefficients.length; i++) {
    const value = singularValues[i % kept];
    coefficients[i] *= value > limit ? 1 - limit / value : 0;
  }
  await kernels.projectAsync({ a: coefficients, b: basis, out, rows, inner: kept, columns });
}

function shrink(value: number, limit: number): number {
  return Math.sign(value) * Math.max(Math.abs(value) - limit, 0);
}

function frobenius(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}
