import type { Mixes } from './mixes.js';

/**
 * Base vectors: one latent vector per sample, of which a mix of two predicts a label: lambda b_i + (1 - lambda) b_k for
 * a view of sample i with the share 1 - lambda of sample k mixed in. Only the rest of the label is then coded.
 */

/** Iterations of the conjugate gradient: mixes of few labels each make the system well conditioned. */
const ITERATIONS = 20;
/** Labels saying zero that hold a base vector back: five times as many left 1 % more error of 1,599 emoji at 1000x. */
const RIDGE = 0.1;

/** The normal equations of all labels, summed up label by label. */
export class BaseFit {
  readonly #rank: number;
  /** Number of samples seen: one more than the largest id. */
  #samples = 0;
  /** [at least samples, rank]: sums of weight times label. */
  #right = new Float64Array();
  /** [at least samples]: sums of squared weights. */
  #diagonal = new Float64Array();
  /** Pairs that are mixed: both samples and lambda (1 - lambda). */
  readonly #pairs: { first: number[]; second: number[]; weight: number[] } = {
    first: [],
    second: [],
    weight: [],
  };

  constructor(rank: number) {
    this.#rank = rank;
  }

  /** @param latents [labels, rank]. */
  add(latents: Float32Array, { sample, partner, lambda }: Mixes): void {
    for (const ids of [sample, partner]) this.#makeRoom(ids);
    for (let i = 0; i < sample.length; i++) {
      const alone = partner[i] === sample[i];
      const own = alone ? 1 : lambda[i];
      this.#addTo(sample[i], own, latents, i);
      if (alone) continue;
      this.#addTo(partner[i], 1 - own, latents, i);
      if (own === 0 || own === 1) continue;
      this.#pairs.first.push(sample[i]);
      this.#pairs.second.push(partner[i]);
      this.#pairs.weight.push(own * (1 - own));
    }
  }

  #makeRoom(ids: Uint32Array): void {
    this.#samples = ids.reduce((most, id) => Math.max(most, id + 1), this.#samples);
    if (this.#samples <= this.#diagonal.length) return;
    const room = Math.max(this.#samples, 2 * this.#diagonal.length);
    const [right, diagonal] = [new Float64Array(room * this.#rank), new Float64Array(room)];
    right.set(this.#right);
    diagonal.set(this.#diagonal);
    [this.#right, this.#diagonal] = [right, diagonal];
  }

  #addTo(sample: number, weight: number, latents: Float32Array, label: number): void {
    this.#diagonal[sample] += weight * weight;
    for (let j = 0; j < this.#rank; j++) {
      this.#right[sample * this.#rank + j] += weight * latents[label * this.#rank + j];
    }
  }

  /** The vectors of least squares, held back: [samples, rank]. */
  solve(): Float64Array {
    const length = this.#samples * this.#rank;
    const x = new Float64Array(length);
    const residual = this.#right.slice(0, length);
    const direction = residual.slice();
    const image = new Float64Array(length);
    let energy = this.#energies(residual, residual);
    for (let iteration = 0; iteration < ITERATIONS; iteration++) {
      this.#multiply(direction, image);
      const curvature = this.#energies(direction, image);
      const advance = energy.map((own, j) => (curvature[j] > 0 ? own / curvature[j] : 0));
      for (let i = 0; i < length; i++) {
        x[i] += advance[i % this.#rank] * direction[i];
        residual[i] -= advance[i % this.#rank] * image[i];
      }
      const next = this.#energies(residual, residual);
      const back = next.map((own, j) => (energy[j] > 0 ? own / energy[j] : 0));
      for (let i = 0; i < length; i++) {
        direction[i] = residual[i] + back[i % this.#rank] * direction[i];
      }
      energy = next;
    }
    return x;
  }

  /** Inner products per component: components do not depend on each other. */
  #energies(a: Float64Array, b: Float64Array): Float64Array {
    const sums = new Float64Array(this.#rank);
    for (let i = 0; i < a.length; i++) sums[i % this.#rank] += a[i] * b[i];
    return sums;
  }

  #multiply(x: Float64Array, out: Float64Array): void {
    const rank = this.#rank;
    for (let sample = 0; sample < this.#samples; sample++) {
      const factor = this.#diagonal[sample] + RIDGE;
      for (let j = sample * rank; j < (sample + 1) * rank; j++) out[j] = factor * x[j];
    }
    const { first, second, weight } = this.#pairs;
    for (let i = 0; i < first.length; i++) {
      const [a, b, w] = [first[i] * rank, second[i] * rank, weight[i]];
      for (let j = 0; j < rank; j++) {
        out[a + j] += w * x[b + j];
        out[b + j] += w * x[a + j];
      }
    }
  }
}

/**
 * Subtracts (or with `sign` 1 adds) the predictions of labels from their latents [labels, rank].
 *
 * @param bases [samples, rank].
 */
export function addPredictions(
  latents: Float32Array,
  bases: Float32Array,
  rank: number,
  { sample, partner, lambda }: Mixes,
  sign: 1 | -1,
): void {
  for (let i = 0; i < sample.length; i++) {
    const own = partner[i] === sample[i] ? 1 : lambda[i];
    const [a, b] = [sample[i] * rank, partner[i] * rank];
    for (let j = 0; j < rank; j++) {
      latents[i * rank + j] += sign * (own * bases[a + j] + (1 - own) * bases[b + j]);
    }
  }
}
