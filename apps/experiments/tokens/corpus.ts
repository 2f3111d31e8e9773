import * as tf from '@tensorflow/tfjs';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';
import type { DenseRows, TokenSource } from '#src/tokens/token-source.js';
import type { Answer } from './answer.js';

/** The teacher's output matrix, here and as a tensor [vocabulary, width]. */
export interface TeacherHead extends OutputHead {
  readonly tensor: tf.Tensor2D;
}

/** Answers as labels to pack: logits of all ids, made of the states of one answer at a time. */
export function logitsSource(answers: readonly Answer[], head: TeacherHead): TokenSource {
  const { vocabulary, width, tensor } = head;
  return denseSource(answers, head, { kind: 'logits', width: vocabulary }, async (states) => {
    const logits = tf.tidy(() => {
      const rows = tf.tensor2d(states, [states.length / width, width]);
      return tf.matMul(rows, tensor, false, true);
    });
    const values = await logits.data();
    logits.dispose();
    return values as Float32Array;
  });
}

/** Hidden states as labels to pack. */
export function hiddenSource(answers: readonly Answer[], head: TeacherHead): TokenSource {
  const shape = { kind: 'hidden', width: head.width } as const;
  return denseSource(answers, head, shape, async (states) => states);
}

function denseSource(
  answers: readonly Answer[],
  { vocabulary, width }: OutputHead,
  shape: Pick<DenseRows, 'kind' | 'width'>,
  valuesOf: (states: Float32Array) => Promise<Float32Array>,
): TokenSource {
  return {
    vocabulary,
    async *sequences() {
      for (const [i, { tokens, first, rows, states }] of answers.entries()) {
        const read = async (start: number, count: number) =>
          valuesOf((await states()).subarray(start * width, (start + count) * width));
        yield { name: `answer ${i}`, tokens, first, rows, labels: { ...shape, read } };
      }
    },
  };
}
