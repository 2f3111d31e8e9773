import * as tf from '@tensorflow/tfjs';
import { CounterRng, STREAM, unit } from '#src/core/philox.js';
import { drawIds } from '#src/tokens/listed-rows.js';
import type { Llama } from './llama.js';

/** A text with the teacher's hidden state at every token that has a label: its own answer to a prompt, or one that was given. */
export interface Answer {
  /** What the student reads of the prompt, then the answer. */
  readonly tokens: Int32Array;
  /** Position of the first label: the last one of the prompt. */
  readonly first: number;
  /** Labels: a token of the answer each, its end included unless it was cut. */
  readonly rows: number;
  /** [rows, width], behind the teacher's last norm. */
  states(): Promise<Float32Array>;
}

/** What a teacher says: ids, and its hidden state before each. */
export interface Drawn {
  readonly ids: readonly number[];
  readonly states: Float32Array;
}

export interface DrawOptions {
  /** Ends an answer. */
  readonly end: number;
  /** Tokens of an answer at most. */
  readonly most: number;
  /** The most probable token instead of one that is drawn at temperature 1. */
  readonly greedy?: boolean;
}

const ANSWER_SEED = 20;

/**
 * The teacher's answers to prompts of equal length, read together. Draws are of a prompt's number and the position.
 *
 * @param numbers of the prompts.
 */
export async function drawAnswers(
  llama: Llama,
  prompts: readonly (readonly number[])[],
  numbers: readonly number[],
  { end, most, greedy = false }: DrawOptions,
): Promise<Drawn[]> {
  const { width, vocabulary } = llama.head;
  const rng = new CounterRng(ANSWER_SEED);
  const ids: number[][] = prompts.map(() => []);
  const states: Float32Array[][] = prompts.map(() => []);
  let read = llama.read(Int32Array.from(prompts.flat()), prompts.length);
  for (let position = 0; position < most; position++) {
    const [hidden, logits] = await valuesOf(read.states, llama.embeddings);
    for (const [i, own] of ids.entries()) {
      if (own[own.length - 1] === end) continue;
      const row = logits.subarray(i * vocabulary, (i + 1) * vocabulary);
      const [word] = rng.words(numbers[i], position, STREAM.answers, 0);
      own.push(greedy ? largest(row) : drawn(row, unit(word)));
      states[i].push(hidden.slice(i * width, (i + 1) * width));
    }
    const open = ids.some((own) => own[own.length - 1] !== end);
    if (!open || position + 1 === most) break;
    const { cache } = read;
    const last = Int32Array.from(ids, (own) => own[own.length - 1]);
    tf.dispose(read.states);
    read = llama.read(last, prompts.length, cache);
    tf.dispose(cache);
  }
  tf.dispose([read.states, read.cache]);
  return ids.map((own, i) => {
    const joined = new Float32Array(own.length * width);
    for (const [j, state] of states[i].entries()) joined.set(state, j * width);
    return { ids: own, states: joined };
  });
}

async function valuesOf(states: tf.Tensor2D, embeddings: tf.Tensor2D) {
  const logits = tf.matMul(states, embeddings, false, true);
  const values = await Promise.all([states.data(), logits.data()]);
  logits.dispose();
  return values as [Float32Array, Float32Array];
}

function largest(row: Float32Array): number {
  let best = 0;
  for (let id = 1; id < row.length; id++) if (row[id] > row[best]) best = id;
  return best;
}

function drawn(row: Float32Array, uniform: number): number {
  const top = row[largest(row)];
  const weights = new Float64Array(row.length);
  for (let id = 0; id < row.length; id++) weights[id] = Math.exp(row[id] - top);
  return drawIds(weights, Float64Array.of(uniform), 0)[0];
}
