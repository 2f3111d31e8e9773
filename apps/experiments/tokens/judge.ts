import * as tf from '@tensorflow/tfjs';
import type { Answer } from './answer.js';
import type { TeacherHead } from './corpus.js';
import type { TokenStudent } from './student.js';

/** A student's divergence from the teacher and cross-entropy of the text, summed over each text that it did not learn from. */
export interface Judged {
  readonly kl: readonly number[];
  readonly nll: readonly number[];
}

/** Judges a student by texts that it did not learn from. */
export async function judge(
  student: TokenStudent,
  answers: readonly Answer[],
  { tensor, width }: TeacherHead,
): Promise<Judged> {
  const [kl, nll]: [number[], number[]] = [[], []];
  for (const { tokens, first, rows, states } of answers) {
    const known = await states();
    const sums = tf.tidy(() => {
      const read = tokens.subarray(0, first + rows);
      const offsets = read.map((_, i) => i);
      const sequences = read.map(() => 0);
      const seen = new Float32Array(read.length * width);
      seen.set(known.subarray(0, rows * width), first * width);
      const all = student.states({ tokens: read, offsets, sequences, states: seen });
      const behind = all.slice([first, 0], [rows, all.shape[1]]);
      const own = tf.logSoftmax(student.logits(behind));
      const hidden = tf.tensor2d(known, [rows, width]);
      const teacher = tf.logSoftmax(tf.matMul(hidden, tensor, false, true));
      const divergence = teacher.exp().mul(teacher.sub(own)).sum();
      const right = Array.from({ length: rows }, (_, i) => [i, tokens[first + 1 + i]]);
      const text = tf.gatherND(own as tf.Tensor, tf.tensor2d(right, [rows, 2], 'int32'));
      return tf.stack([divergence, text.sum().neg()]);
    });
    const [divergence, surprise] = await sums.data();
    sums.dispose();
    kl.push(divergence);
    nll.push(surprise);
  }
  return { kl, nll };
}
