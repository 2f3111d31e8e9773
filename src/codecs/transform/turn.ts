import type { Kernels } from '../../kernels/types.js';
import { symmetricEigen } from '../math/eigen.js';
import type { DrawnLabels } from './drawn-labels.js';

/**
 * Turns latents to the principal components of what a network leaves over of them: along those of the labels themselves
 * it is spread over more components, which cost 5 % more bits (bench/fidelity.mjs, at 140 bits of the autoencoder).
 */
export class Turn {
  readonly #rank: number;
  /** [rank, rank], orthonormal rows. */
  readonly #rows: Float32Array;
  readonly #kernels: Kernels;

  private constructor(rank: number, rows: Float32Array, kernels: Kernels) {
    this.#rank = rank;
    this.#rows = rows;
    this.#kernels = kernels;
  }

  /** @param rest [labels, rank]. */
  static async to(rest: Float32Array, rank: number, kernels: Kernels): Promise<Turn> {
    const covariance = new Float32Array(rank * rank);
    const shape = { rows: rank, inner: rest.length / rank, columns: rank, transposeA: true };
    await kernels.projectAsync({ a: rest, b: rest, out: covariance, ...shape });
    const { order, vectors } = symmetricEigen(covariance, rank);
    const rows = new Float32Array(rank * rank);
    for (const [i, from] of order.entries()) {
      for (let j = 0; j < rank; j++) rows[i * rank + j] = vectors.get(j, from);
    }
    return new Turn(rank, rows, kernels);
  }

  /** @param vectors [count, rank]. */
  async vectors(vectors: Float32Array): Promise<Float32Array> {
    const rank = this.#rank;
    const out = new Float32Array(vectors.length);
    const shape = { rows: vectors.length / rank, inner: rank, columns: rank, transposeB: true };
    await this.#kernels.projectAsync({ a: vectors, b: this.#rows, out, ...shape });
    return out;
  }

  /** The labels with other components of the same space. */
  async labels(drawn: DrawnLabels): Promise<DrawnLabels> {
    const rank = this.#rank;
    const components = new Float32Array(drawn.components.length);
    const shape = { rows: rank, inner: rank, columns: components.length / rank };
    await this.#kernels.projectAsync({
      ...{ a: this.#rows, b: drawn.components, out: components, ...shape },
    });
    // Coefficients of principal components do not depend on each other.
    const deviations = drawn.deviations.map((_, i) => {
      let sum = 0;
      for (let j = 0; j < rank; j++) {
        sum += (this.#rows[i * rank + j] * drawn.deviations[j]) ** 2;
      }
      return Math.sqrt(sum);
    });
    return { ...drawn, components, deviations };
  }
}
