import * as tf from '@tensorflow/tfjs';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';

/** A transformer of texts, read a window at a time. */
export interface StudentShape {
  readonly vocabulary: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Positions of a text that are told apart. */
  readonly positions: number;
  /** Dimensions of the teacher's state, for a student that sees it: a strong one. */
  readonly informed?: number;
}

/** Tokens of several texts, one after the other. */
export interface StudentInput {
  readonly tokens: Int32Array;
  /** Text of each token: attention stays in it. */
  readonly sequences: Int32Array;
  /** Position of each token in its text. */
  readonly offsets: Int32Array;
  /** [tokens, informed]: the teacher's state at each token, 0 where it has no label. */
  readonly states?: Float32Array;
}

interface Layer {
  readonly attention: tf.Variable;
  readonly projection: tf.Variable;
  readonly up: tf.Variable;
  readonly down: tf.Variable;
  readonly norms: readonly [tf.Variable, tf.Variable];
}

/** Added to the mean square before its root. */
const EPSILON = 1e-5;
/** Logits of what attention must not see. */
const HIDDEN = -1e9;
/** Standard deviation of initial embeddings. */
const EMBEDDING = 0.02;

/**
 * A decoder with RMS norms before its parts, learned positions, GELU, and an output matrix that is the table of
 * embeddings.
 */
export class TokenStudent implements Disposable {
  readonly shape: StudentShape;
  readonly variables: readonly tf.Variable[];
  readonly #tokens: tf.Variable;
  readonly #positions: tf.Variable;
  readonly #layers: readonly Layer[];
  readonly #norm: tf.Variable;
  readonly #informed: tf.Variable | undefined;

  constructor(shape: StudentShape, seed: number) {
    this.shape = shape;
    const random = new RandomSequence(seed, STREAM.training, 1);
    const variables: tf.Variable[] = [];
    const matrix = (rows: number, columns: number, deviation: number) => {
      const values = Float32Array.from(
        { length: rows * columns },
        () => deviation * random.normal(),
      );
      variables.push(tf.variable(tf.tensor2d(values, [rows, columns])));
      return variables[variables.length - 1];
    };
    const scale = () => {
      variables.push(tf.variable(tf.ones([width])));
      return variables[variables.length - 1];
    };
    const { vocabulary, width, layers, positions, informed } = shape;
    const deviation = 1 / Math.sqrt(width);
    // Parts that are added to the residual stream start small: as many are added as there are.
    const added = deviation / Math.sqrt(2 * layers);
    this.#tokens = matrix(vocabulary, width, EMBEDDING);
    this.#positions = matrix(positions, width, EMBEDDING);
    this.#layers = Array.from({ length: layers }, () => ({
      attention: matrix(width, 3 * width, deviation),
      projection: matrix(width, width, added),
      up: matrix(width, 4 * width, deviation),
      down: matrix(4 * width, width, added / 2),
      norms: [scale(), scale()],
    }));
    this.#norm = scale();
    this.#informed = informed === undefined ? undefined : matrix(informed, width, EMBEDDING);
    this.variables = variables;
  }

  /** Logits of the token behind each, [tokens, vocabulary]. */
  apply(input: StudentInput): tf.Tensor2D {
    return this.logits(this.states(input));
  }

  logits(states: tf.Tensor2D): tf.Tensor2D {
    return tf.matMul(states, this.#tokens as tf.Variable<tf.Rank.R2>, false, true);
  }

  /** What logits are made of, [tokens, width]. */
  states(input: StudentInput): tf.Tensor2D {
    const mask = maskOf(input.sequences);
    let state = this.#embed(input);
    for (const layer of this.#layers) {
      state = state.add(this.#attend(norm(state, layer.norms[0]), mask, layer)) as tf.Tensor2D;
      const up = tf.matMul(norm(state, layer.norms[1]), layer.up as tf.Variable<tf.Rank.R2>);
      state = state.add(tf.matMul(gelu(up as tf.Tensor2D), layer.down as tf.Variable<tf.Rank.R2>));
    }
    return norm(state, this.#norm);
  }

  #embed({ tokens, offsets, states }: StudentInput): tf.Tensor2D {
    const last = this.shape.positions - 1;
    const embedded = tf.gather(this.#tokens, tf.tensor1d(tokens, 'int32'));
    const places = offsets.map((offset) => Math.min(offset, last));
    const placed = embedded.add(tf.gather(this.#positions, tf.tensor1d(places, 'int32')));
    if (this.#informed === undefined || states === undefined) return placed as tf.Tensor2D;
    const seen = tf.tensor2d(states, [tokens.length, this.#informed.shape[0]]);
    const scaled = norm(seen, tf.scalar(1));
    return placed.add(tf.matMul(scaled, this.#informed as tf.Variable<tf.Rank.R2>));
  }

  #attend(state: tf.Tensor2D, mask: tf.Tensor2D, layer: Layer): tf.Tensor2D {
    const { heads, width } = this.shape;
    const length = state.shape[0];
    const size = width / heads;
    const all = tf.matMul(state, layer.attention as tf.Variable<tf.Rank.R2>);
    const [query, key, value] = tf
      .split(all, 3, 1)
      .map((part) => part.reshape([length, heads, size]).transpose([1, 0, 2]));
    const logits = tf.matMul(query, key, false, true).div(Math.sqrt(size)).add(mask);
    const mixed = tf.matMul(tf.softmax(logits), value);
    const joined = mixed.transpose([1, 0, 2]).reshape([length, width]) as tf.Tensor2D;
    return tf.matMul(joined, layer.projection as tf.Variable<tf.Rank.R2>);
  }

  /** All variables, one after the other. */
  async values(): Promise<Float32Array> {
    const flat = tf.tidy(() =>
      tf.concat1d(this.variables.map((own) => own.flatten() as tf.Tensor1D)),
    );
    const values = await flat.data();
    flat.dispose();
    return values as Float32Array;
  }

  /** Takes the variables of a student of the same shape. */
  assign(values: Float32Array): void {
    let at = 0;
    for (const own of this.variables) {
      const next = at + own.size;
      tf.tidy(() => own.assign(tf.tensor(values.slice(at, next), own.shape)));
      at = next;
    }
  }

  dispose(): void {
    tf.dispose(this.variables as tf.Variable[]);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function norm(state: tf.Tensor2D, scale: tf.Tensor): tf.Tensor2D {
  const square = state.square().mean(1, true).add(EPSILON);
  return state.mul(square.rsqrt()).mul<tf.Tensor2D>(scale);
}

/** The form of the logistic function. */
function gelu(x: tf.Tensor2D): tf.Tensor2D {
  return x.mul(tf.sigmoid(x.mul(1.702)));
}

/** [length, length], 0 where a token may look: itself and those before it in its text. */
function maskOf(sequences: Int32Array): tf.Tensor2D {
  const { length } = sequences;
  const mask = new Float32Array(length * length).fill(HIDDEN);
  for (let i = 0; i < length; i++) {
    for (let j = i; j >= 0 && sequences[j] === sequences[i]; j--) mask[i * length + j] = 0;
  }
  return tf.tensor2d(mask, [length, length]);
}
