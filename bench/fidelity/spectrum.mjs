// What the rate-distortion function of Gaussian vectors needs to know of labels: no codec of single ones does better if they are Gaussian.
import { EigenvalueDecomposition, Matrix } from 'ml-matrix';

/** Variances along the principal axes of labels, and the mean energy of a label, its mean included. */
export class LabelSpectrum {
  #count = 0;
  #energy = 0;
  #sums;
  #products;
  #kernels;
  #classes;

  constructor(classes, kernels) {
    this.#classes = classes;
    this.#kernels = kernels;
    this.#sums = new Float64Array(classes);
    this.#products = new Float32Array(classes * classes);
  }

  /** @param labels centred logits [rows, classes]. */
  add(labels) {
    const classes = this.#classes;
    const rows = labels.length / classes;
    this.#count += rows;
    for (let i = 0; i < labels.length; i++) {
      this.#sums[i % classes] += labels[i];
      this.#energy += labels[i] ** 2;
    }
    const shape = { rows: classes, inner: rows, columns: classes, transposeA: true };
    const out = this.#products;
    this.#kernels.project({ a: labels, b: labels, out, ...shape, accumulate: true });
  }

  result() {
    const mean = this.#sums.map((sum) => sum / this.#count);
    const covariance = new Matrix(this.#classes, this.#classes);
    for (let i = 0; i < this.#classes; i++) {
      for (let j = 0; j < this.#classes; j++) {
        const product = this.#products[i * this.#classes + j] / this.#count;
        covariance.set(i, j, product - mean[i] * mean[j]);
      }
    }
    const { realEigenvalues } = new EigenvalueDecomposition(covariance, { assumeSymmetric: true });
    const variances = realEigenvalues.map((value) => Math.max(value, 0));
    return { variances, energy: this.#energy / this.#count };
  }
}
