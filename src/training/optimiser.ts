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
 * Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2). One-dimensional parameters (biases,
 * batch-norm scales and shifts) are not decayed. `learningRate` may be set between steps.
 *
 * All parameters are updated as one flat vector: twenty operations per step instead of twenty per parameter, each of
 * which costs 10 to 100 us before it touches a number.
 */
export class AdamW implements Disposable {
  learningRate: number;
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #epsilon: number;
  readonly #weightDecay: number;
  readonly #variables: readonly tf.Variable[];
  /** [parameters] each: first moment, second moment, and 1 where weights decay. */
  readonly #first: tf.Variable;
  readonly #second: tf.Variable;
  readonly #decayed: tf.Tensor;
  #steps = 0;

  constructor(variables: readonly tf.Variable[], options: AdamWOptions) {
    const { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-12, weightDecay = 0 } = options;
    this.learningRate = learningRate;
    this.#beta1 = beta1;
    this.#beta2 = beta2;
    this.#epsilon = epsilon;
    this.#weightDecay = weightDecay;
    this.#variables = variables;
    const [first, second, decayed] = tf.tidy(() => {
      const masks = variables.map(({ size, rank }) => tf.fill([size], rank > 1 ? 1 : 0));
      const decayedMask = tf.concat1d(masks as tf.Tensor1D[]);
      return [
        tf.variable(tf.zerosLike(decayedMask), false),
        tf.variable(tf.zerosLike(decayedMask), false),
        decayedMask,
      ];
    });
    this.#first = first as tf.Variable;
    this.#second = second as tf.Variable;
    this.#decayed = decayed;
  }

  /** Takes one step, given each variable's gradient by the variable's name. */
  step(gradients: Readonly<Record<string, tf.Tensor>>): void {
    this.#steps += 1;
    tf.tidy(() => {
      const gradient = flatten(this.#variables.map(({ name }) => gradients[name]));
      this.#first.assign(blend(this.#first, gradient, this.#beta1));
      this.#second.assign(blend(this.#second, gradient.square(), this.#beta2));
      const first = this.#first.div(1 - this.#beta1 ** this.#steps);
      const second = this.#second.div(1 - this.#beta2 ** this.#steps);
      const direction = first.div(second.sqrt().add(this.#epsilon));
      const values = flatten(this.#variables);
      const decay = values.mul(this.#decayed).mul(this.#weightDecay);
      this.#assign(values.sub(direction.add(decay).mul(this.learningRate)));
    });
  }

  #assign(values: tf.Tensor): void {
    const parts = tf.split(
      values,
      this.#variables.map(({ size }) => size),
    );
    this.#variables.forEach((variable, i) => {
      variable.assign(parts[i].reshape(variable.shape));
    });
  }

  dispose(): void {
    tf.dispose([this.#first, this.#second, this.#decayed]);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function flatten(tensors: readonly tf.Tensor[]): tf.Tensor1D {
  return tf.concat1d(tensors.map((tensor) => tensor.flatten()));
}

/** old * share + update * (1 - share). */
function blend(old: tf.Tensor, update: tf.Tensor, share: number): tf.Tensor {
  return old.mul(share).add(update.mul(1 - share));
}
