import type * as tf from '@tensorflow/tfjs';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';
import type { TokenSource } from '#src/tokens/token-source.js';
import type { Answer } from './answer.js';

/** The teacher's output matrix, here and as a tensor [vocabulary, width]. */
export interface TeacherHead extends OutputHead {
  readonly tensor: tf.Tensor2D;
}

/** Answers as labels to pack: hidden states, which are read an answer at a time. */
export function hiddenSource(
  answers: readonly Answer[],
  { vocabulary, width }: OutputHead,
): TokenSource {
  return {
    vocabulary,
    async *sequences() {
      for (const [i, { tokens, first, rows, states }] of answers.entries()) {
        const read = async (start: number, count: number) =>
          (await states()).subarray(start * width, (start + count) * width);
        const labels = { kind: 'hidden', width, read } as const;
        yield { name: `answer ${i}`, tokens, first, rows, labels };
      }
    },
  };
}
