import * as tf from '@tensorflow/tfjs';
import type { TokenStudent } from './student.js';

/** Texts that are read together: attention is over all tokens of them. */
const BATCH = 16;

/** A student's most probable answers, without their end. */
export async function greedyAnswers(
  student: TokenStudent,
  prompts: readonly Int32Array[],
  { end, most }: { readonly end: number; readonly most: number },
): Promise<number[][]> {
  const answers: number[][] = [];
  for (let from = 0; from < prompts.length; from += BATCH) {
    const texts = prompts.slice(from, from + BATCH).map((prompt) => [...prompt]);
    let open = texts.map((_, i) => i);
    for (let step = 0; step < most && open.length > 0; step++) {
      const next = await nextTokens(
        student,
        open.map((i) => texts[i]),
      );
      for (const [at, i] of open.entries()) texts[i].push(next[at]);
      open = open.filter((i) => texts[i][texts[i].length - 1] !== end);
    }
    for (const [i, text] of texts.entries()) {
      const own = text.slice(prompts[from + i].length);
      answers.push(own[own.length - 1] === end ? own.slice(0, -1) : own);
    }
  }
  return answers;
}

async function nextTokens(
  student: TokenStudent,
  texts: readonly (readonly number[])[],
): Promise<Int32Array> {
  const best = tf.tidy(() => {
    const states = student.states({
      tokens: Int32Array.from(texts.flat()),
      sequences: Int32Array.from(texts.flatMap((text, i) => text.map(() => i))),
      offsets: Int32Array.from(texts.flatMap((text) => text.map((_, at) => at))),
    });
    let end = -1;
    const last = texts.map(({ length }) => {
      end += length;
      return end;
    });
    const behind = tf.gather(states, tf.tensor1d(last, 'int32')) as tf.Tensor2D;
    return tf.argMax(student.logits(behind), 1);
  });
  const ids = await best.data();
  best.dispose();
  return ids as Int32Array;
}

/** ROUGE-L: the F measure of the longest common subsequence of two answers' tokens. */
export function rougeL(answer: readonly number[], reference: readonly number[]): number {
  const common = longestCommon(answer, reference);
  return common === 0 ? 0 : (2 * common) / (answer.length + reference.length);
}

function longestCommon(a: readonly number[], b: readonly number[]): number {
  let row = new Uint32Array(b.length + 1);
  for (const token of a) {
    const next = new Uint32Array(b.length + 1);
    for (const [j, other] of b.entries()) {
      next[j + 1] = token === other ? row[j] + 1 : Math.max(row[j + 1], next[j]);
    }
    row = next;
  }
  return row[b.length];
}
