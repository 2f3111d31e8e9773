import { SoftpackError } from '../../errors.js';
import type { OutputHead } from '../../tokens/hidden/output-head.js';
import type { DenseRows } from '../../tokens/token-source.js';
import type { Evaluation, LastState } from './llama-evaluation.js';
import { readOutputHead } from './output-head.js';

/** Where the output matrix of a model is. */
export interface HiddenOptions {
  /** Default: in the model's own file. */
  readonly head?: string;
  readonly headTensor?: string;
}

/** Hidden states of a model's texts, and the output matrix that makes logits of them. */
export interface LlamaStates {
  readonly head: OutputHead;
  /** Of labels from position `first` of a text on. */
  labels(tokens: Int32Array, first: number, signal?: AbortSignal): DenseRows;
}

/** Tokens whose logits are compared. */
const COMPARED = 4;
/** Mean KL of the model's logits from those of the matrix: llama.cpp rounds states to 8 bits, which costs about .001. */
const MOST_KL = 0.05;

/** @throws `UNSUPPORTED` if hidden states and matrix do not give the model's own logits, as of other models' matrices. */
export async function openLlamaHead(
  { model, hidden = {} }: { readonly model: string; readonly hidden?: HiddenOptions },
  evaluation: Evaluation,
  last: LastState,
  tokens: Int32Array,
  vocabulary: number,
): Promise<LlamaStates> {
  const path = hidden.head ?? model;
  const head = await readOutputHead(path, { tensor: hidden.headTensor, vocabulary });
  const { width } = head;
  const count = Math.min(COMPARED, tokens.length);
  const logs = await evaluation.labels(tokens, 0, count, vocabulary);
  const states = await evaluation.states(tokens, 0, count, width, last);
  let kl = 0;
  for (let row = 0; row < count; row++) {
    const own = logs.subarray(row * vocabulary, (row + 1) * vocabulary);
    kl += divergence(own, states.subarray(row * width, (row + 1) * width), head) / count;
  }
  if (!(kl <= MOST_KL)) {
    throw new SoftpackError('UNSUPPORTED', 'states and output matrix do not give its logits', {
      field: path,
      expected: `the model's own matrix, with a KL up to ${MOST_KL}`,
      found: kl,
    });
  }
  return {
    head,
    labels: (text, first, signal) => ({
      ...{ kind: 'hidden', width },
      read: (start, rows) => evaluation.states(text, first + start, rows, width, last, signal),
    }),
  };
}

/** KL of the distribution of `logs` from softmax(matrix x state). */
function divergence(
  logs: Float32Array,
  state: Float32Array,
  { vocabulary, width, weights }: OutputHead,
): number {
  const logits = Float64Array.from({ length: vocabulary }, (_, id) => {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += weights[id * width + j] * state[j];
    return sum;
  });
  const top = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const logSum = top + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
  return logs.reduce((sum, log, id) => {
    return log === Number.NEGATIVE_INFINITY
      ? sum
      : sum + Math.exp(log) * (log - logits[id] + logSum);
  }, 0);
}
