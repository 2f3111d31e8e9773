export interface AdamWOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  /** Decoupled: each step shrinks the parameter by learningRate * weightDecay. */
  readonly weightDecay?: number;
}

export interface AdamWMoments {
  readonly mean: Float32Array;
  readonly square: Float32Array;
}

const EPSILON = 1e-8;

/** AdamW (Loshchilov and Hutter 2019, algorithm 2) for one float32 parameter array, updated in place. */
export class AdamW {
  readonly #mean: Float32Array;
  readonly #square: Float32Array;
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #weightDecay: number;
  #step = 0;

  constructor(size: number, { beta1 = 0.9, beta2 = 0.99, weightDecay = 0 }: AdamWOptions = {}) {
    this.#mean = new Float32Array(size);
    this.#square = new Float32Array(size);
    this.#beta1 = beta1;
    this.#beta2 = beta2;
    this.#weightDecay = weightDecay;
  }

  /** Running means of the gradient and of its square, not copied. */
  get moments(): AdamWMoments {
    return { mean: this.#mean, square: this.#square };
  }

  /** Continues after `steps` updates that led to these moments. */
  restore({ mean, square }: AdamWMoments, steps: number): void {
    this.#mean.set(mean);
    this.#square.set(square);
    this.#step = steps;
  }

  update(parameter: Float32Array, gradient: Float32Array, learningRate: number): void {
    this.#step++;
    const [beta1, beta2] = [this.#beta1, this.#beta2];
    // rate m^ / (sqrt(v^) + epsilon) with the bias corrections taken out of the loop.
    const root = Math.sqrt(1 - beta2 ** this.#step);
    const rate = (learningRate * root) / (1 - beta1 ** this.#step);
    const epsilon = EPSILON * root;
    const keep = 1 - learningRate * this.#weightDecay;
    const mean = this.#mean;
    const square = this.#square;
    const size = parameter.length;
    for (let i = 0; i < size; i++) {
      const g = gradient[i];
      const m = beta1 * mean[i] + (1 - beta1) * g;
      const v = beta2 * square[i] + (1 - beta2) * g * g;
      mean[i] = m;
      square[i] = v;
      parameter[i] = parameter[i] * keep - (rate * m) / (Math.sqrt(v) + epsilon);
    }
  }
}
