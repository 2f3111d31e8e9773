import type { Kernels } from '../../kernels/types.js';

/** The trainable arrays: P [c, dh], D [dh, c] and the codebook mu [k, dc]. */
export interface VqaeParameters {
  readonly projection: Float32Array;
  readonly decoder: Float32Array;
  readonly codebook: Float32Array;
}

export interface VqaeShape {
  readonly classes: number;
  readonly dh: number;
  readonly dc: number;
  readonly k: number;
}

/** Weights of equation 7: L = alpha (||sg[h] - mu_q||^2 + beta ||h - sg[mu_q]||^2) + ||y^ - y||^2. */
export interface VqaeLossWeights {
  readonly alpha: number;
  readonly beta: number;
}

export interface VqaeLosses {
  /** Mean over the batch of ||y^ - y||^2. */
  readonly reconstruction: number;
  /** Mean over the batch of sum_i ||h(i) - mu_q(i)||^2. */
  readonly quantisation: number;
}

/**
 * Loss and closed-form gradients of one batch, with the straight-through estimator of the paper: the decoder's
 * gradient with respect to mu_q(i) is handed on to h(i), and the codebook learns from its own term alone.
 *
 * With h = y P, h^ = mu[q], e = h^ D - y, means over B labels:
 *   dD  = (2 / B) h^T e            dh  = (2 / B) (e D^T + alpha beta (h - h^))
 *   dP  = y^T dh                   dmu_j = (2 alpha / B) sum over segments with q = j of (mu_j - h(i))
 * Cost: five GEMMs of 2 B c dh flops each and one nearest-codeword search of 2 B dh k.
 *
 * In two passes, so that the caller can update D and mu while the kernels work on the gradient of P.
 */
export class VqaeGradients {
  readonly projection: Float32Array;
  readonly decoder: Float32Array;
  readonly codebook: Float32Array;
  /** [B * m] codewords chosen in the last call. */
  readonly codes: Uint16Array;
  /** [B, dh] latents of the last call. */
  readonly latent: Float32Array;
  readonly #shape: VqaeShape;
  readonly #batch: number;
  readonly #kernels: Kernels;
  readonly #threads: number;
  readonly #quantised: Float32Array;
  readonly #error: Float32Array;
  readonly #latentGradient: Float32Array;

  constructor(shape: VqaeShape, batch: number, kernels: Kernels, threads = 0) {
    const { classes, dh, dc, k } = shape;
    this.#shape = shape;
    this.#batch = batch;
    this.#kernels = kernels;
    this.#threads = threads;
    this.projection = new Float32Array(classes * dh);
    this.decoder = new Float32Array(dh * classes);
    this.codebook = new Float32Array(k * dc);
    this.codes = new Uint16Array((batch * dh) / dc);
    this.latent = new Float32Array(batch * dh);
    this.#quantised = new Float32Array(batch * dh);
    this.#error = new Float32Array(batch * classes);
    this.#latentGradient = new Float32Array(batch * dh);
  }

  /** Fills `decoder` and `codebook` for `labels` [B, c], and readies what `encoderPass` needs. */
  async decoderPass(
    parameters: VqaeParameters,
    labels: Float32Array,
    weights: VqaeLossWeights,
  ): Promise<VqaeLosses> {
    const { classes, dh, dc } = this.#shape;
    const rows = this.#batch;
    const threads = this.#threads;
    const { projection, decoder, codebook } = parameters;
    await this.#kernels.projectAsync({
      a: labels,
      b: projection,
      out: this.latent,
      rows,
      inner: classes,
      columns: dh,
      threads,
    });
    const nearest = { vectors: this.latent, codebook, out: this.codes, width: dc, threads };
    await this.#kernels.nearestAsync(nearest);
    const quantisation = this.#quantise(codebook, weights.alpha) / rows;
    await this.#kernels.projectAsync({
      a: this.#quantised,
      b: decoder,
      out: this.#error,
      rows,
      inner: dh,
      columns: classes,
      threads,
    });
    const reconstruction = this.#subtract(labels) / rows;
    await this.#kernels.projectAsync({
      a: this.#quantised,
      b: this.#error,
      out: this.decoder,
      rows: dh,
      inner: rows,
      columns: classes,
      transposeA: true,
      threads,
    });
    await this.#kernels.projectAsync({
      a: this.#error,
      b: decoder,
      out: this.#latentGradient,
      rows,
      inner: classes,
      columns: dh,
      transposeB: true,
      threads,
    });
    this.#addCommitment(weights);
    return { reconstruction, quantisation };
  }

  /** Fills `projection`, for the labels of the last `decoderPass`. Reads no parameter. */
  encoderPass(labels: Float32Array): Promise<void> {
    const { classes, dh } = this.#shape;
    return this.#kernels.projectAsync({
      a: labels,
      b: this.#latentGradient,
      out: this.projection,
      rows: classes,
      inner: this.#batch,
      columns: dh,
      transposeA: true,
      threads: this.#threads,
    });
  }

  /** Looks up h^, accumulates the codebook's gradient; returns sum ||h - h^||^2. */
  #quantise(codebook: Float32Array, alpha: number): number {
    const { dc } = this.#shape;
    const scale = (2 * alpha) / this.#batch;
    const { latent, codes } = this;
    const gradient = this.codebook.fill(0);
    const quantised = this.#quantised;
    let sum = 0;
    for (let segment = 0; segment < codes.length; segment++) {
      const from = codes[segment] * dc;
      const at = segment * dc;
      for (let j = 0; j < dc; j++) {
        const value = codebook[from + j];
        const difference = value - latent[at + j];
        quantised[at + j] = value;
        gradient[from + j] += scale * difference;
        sum += difference * difference;
      }
    }
    return sum;
  }

  /** Turns h^ D into (2 / B) e in place; returns sum ||e||^2. */
  #subtract(labels: Float32Array): number {
    const error = this.#error;
    const scale = 2 / this.#batch;
    let sum = 0;
    for (let i = 0; i < error.length; i++) {
      const e = error[i] - labels[i];
      sum += e * e;
      error[i] = scale * e;
    }
    return sum;
  }

  #addCommitment({ alpha, beta }: VqaeLossWeights): void {
    const scale = (2 * alpha * beta) / this.#batch;
    const gradient = this.#latentGradient;
    const { latent } = this;
    const quantised = this.#quantised;
    for (let i = 0; i < gradient.length; i++) gradient[i] += scale * (latent[i] - quantised[i]);
  }
}
