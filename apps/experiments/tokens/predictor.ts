import * as tf from '@tensorflow/tfjs';
import type { Answer } from './answer.js';
import type { TeacherHead } from './corpus.js';

/** Share of the mean square of a feature that is added to every one's. */
const RIDGE = 0.01;
/** Of conjugate gradients. */
const ITERATIONS = 60;
/** Factors of the predicted state that are tried: a state that is unsure should predict less. */
const SCALES = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];
/** Of each 10 texts one chooses the factor. */
const FOLD = 10;

/**
 * A label of no bits: the teacher's hidden state as a linear function of the embeddings of a token, the one before and the one
 * after it, all of which whoever has the text has. What a student learns from it, labels need not teach.
 */
export class Predictor implements Disposable {
  readonly #head: TeacherHead;
  /** [3 width + 1, width]. */
  readonly #matrix: tf.Tensor2D;

  private constructor(head: TeacherHead, matrix: tf.Tensor2D) {
    this.#head = head;
    this.#matrix = matrix;
  }

  /** Learns from a teacher's answers by least squares. */
  static async learn(answers: readonly Answer[], head: TeacherHead): Promise<Predictor> {
    const size = 3 * head.width + 1;
    let gram = tf.zeros([size, size]) as tf.Tensor2D;
    let product = tf.zeros([size, head.width]) as tf.Tensor2D;
    for (const [i, own] of answers.entries()) {
      if (i % FOLD === 0) continue;
      const states = await own.states();
      const before = [gram, product];
      [gram, product] = tf.tidy(() => {
        const known = featuresOf(own, head);
        const target = tf.tensor2d(states, [own.rows, head.width]);
        return [
          gram.add(tf.matMul(known, known, true)) as tf.Tensor2D,
          product.add(tf.matMul(known, target, true)) as tf.Tensor2D,
        ];
      });
      tf.dispose(before);
    }
    const matrix = solve(gram, product);
    tf.dispose([gram, product]);
    const judged = answers.filter((_, i) => i % FOLD === 0);
    const scale = await bestScale(matrix, judged, head);
    const scaled = matrix.mul<tf.Tensor2D>(scale);
    matrix.dispose();
    return new Predictor(head, scaled);
  }

  /** [positions, width] of a window: predicted states, 0 at positions without a label. */
  states(sequences: Int32Array, offsets: Int32Array, answers: readonly Answer[]): Float32Array {
    const { width } = this.#head;
    const out = new Float32Array(sequences.length * width);
    for (let i = 0; i < sequences.length; ) {
      let end = i + 1;
      while (end < sequences.length && sequences[end] === sequences[i]) end++;
      if (sequences[i] >= 0) {
        const own = answers[sequences[i]];
        const from = Math.max(offsets[i] - own.first, 0);
        const until = Math.min(offsets[i] + end - i - own.first, own.rows);
        if (from < until) {
          const values = this.#predict(own, from, until);
          out.set(values, (i + own.first + from - offsets[i]) * width);
        }
      }
      i = end;
    }
    return out;
  }

  #predict(own: Answer, from: number, until: number): Float32Array {
    return tf.tidy(() => {
      const known = featuresOf(own, this.#head, from, until);
      return tf.matMul(known, this.#matrix).dataSync() as Float32Array;
    });
  }

  [Symbol.dispose](): void {
    this.#matrix.dispose();
  }
}

/** Embeddings of the tokens before, at and after labels [from, until), and 1. */
function featuresOf(
  { tokens, first, rows }: Answer,
  { tensor, width, vocabulary }: TeacherHead,
  from = 0,
  until = rows,
): tf.Tensor2D {
  const count = until - from;
  const at = (shift: number) => {
    const ids = Array.from({ length: count }, (_, i) => tokens[first + from + i + shift] ?? -1);
    const known = tf.tensor2d(
      ids.map((id) => (id < 0 ? 0 : 1)),
      [count, 1],
    );
    const found = ids.map((id) => Math.max(id, 0) % vocabulary);
    return tf.gather(tensor, tf.tensor1d(found, 'int32')).mul(known);
  };
  return tf.concat([at(-1), at(0), at(1), tf.ones([count, 1])], 1).reshape([count, 3 * width + 1]);
}

/** (gram + ridge) x = product by conjugate gradients, all columns at a time. */
function solve(gram: tf.Tensor2D, product: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => {
    const [size] = gram.shape;
    const ridge = gram
      .mul(tf.eye(size))
      .sum()
      .mul(RIDGE / size);
    const dot = (a: tf.Tensor, b: tf.Tensor) => a.mul(b).sum(0, true);
    let x: tf.Tensor = tf.zerosLike(product);
    let rest: tf.Tensor = product;
    let direction: tf.Tensor = product;
    let square = dot(rest, rest);
    for (let i = 0; i < ITERATIONS; i++) {
      [x, rest, direction, square] = tf.tidy(() => {
        const image = tf.matMul(gram, direction as tf.Tensor2D).add(direction.mul(ridge));
        const step = square.div(dot(direction, image).maximum(TINY));
        const left = rest.sub(image.mul(step));
        const next = dot(left, left);
        const turned = left.add(direction.mul(next.div(square.maximum(TINY))));
        return [x.add(direction.mul(step)), left, turned, next];
      });
    }
    return x as tf.Tensor2D;
  });
}

const TINY = 1e-30;

/** The factor whose distributions are closest to the teacher's. */
async function bestScale(
  matrix: tf.Tensor2D,
  answers: readonly Answer[],
  head: TeacherHead,
): Promise<number> {
  const sums = SCALES.map(() => 0);
  for (const own of answers) {
    const states = await own.states();
    const logits = (x: tf.Tensor) => tf.matMul(x as tf.Tensor2D, head.tensor, false, true);
    const found = tf.tidy(() => {
      const teacher = tf.logSoftmax(logits(tf.tensor2d(states, [own.rows, head.width])));
      const predicted = logits(tf.matMul(featuresOf(own, head), matrix));
      const of = (scale: number) =>
        teacher
          .exp()
          .mul(teacher.sub(tf.logSoftmax(predicted.mul(scale))))
          .sum();
      return tf.stack(SCALES.map((scale) => tf.tidy(() => of(scale)))).dataSync();
    });
    for (let i = 0; i < sums.length; i++) sums[i] += found[i];
  }
  return SCALES[sums.indexOf(Math.min(...sums))];
}
