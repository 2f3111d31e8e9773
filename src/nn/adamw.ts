import * as tf from '@tensorflow/tfjs';

export interface AdamWOptions {
  readonly learningRate: number;
  readonly beta1?: number;
  readonly beta2?: number;
  /**
   * Added to the root of the second moment. The default is far below Adam's usual 1e-8: gradients of labels at
   * temperature 20 are tiny, and a larger constant would quietly lower the learning rate.
   */
  readonly epsilon?: number;
  /** Decoupled weight decay: v *= 1 - learningRate * weightDecay before each step. */
  readonly weightDecay?: number;
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter 2019). One-dimensional parameters (biases, batch-norm
 * scales and shifts) are not decayed. `learningRate` may be set between steps.
 *
 * Moments belong to a gradient's position in the map: pass the same variables in the same order every step.
 */
export class AdamW extends tf.AdamOptimizer {
  readonly #weightDecay: number;

  constructor(options: AdamWOptions) {
    const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-12 } = options;
    super(learningRate, beta1, beta2, epsilon);
    this.#weightDecay = options.weightDecay ?? 0;
  }

  setLearningRate(rate: number): void {
    this.learningRate = rate;
  }

  /** One step over `variables`, whose gradients are given by the variables' names. */
  step(variables: readonly tf.Variable[], gradients: Readonly<Record<string, tf.Tensor>>): void {
    tf.tidy(() => {
      this.#decay(variables);
      this.applyGradients(variables.map(({ name }) => ({ name, tensor: gradients[name] })));
    });
  }

  #decay(variables: readonly tf.Variable[]): void {
    if (this.#weightDecay === 0) return;
    const keep = 1 - this.learningRate * this.#weightDecay;
    for (const variable of variables) {
      if (variable.rank > 1) variable.assign(variable.mul(keep));
    }
  }

  /** Frees the moments, and the iteration count that the base class leaves behind. */
  override dispose(): void {
    super.dispose();
    this.iterations_ = 0;
  }
}
