import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { SoftpackError } from '#src/errors.js';
import { openTokenLabels } from '#src/interop/open-tokens.js';
import { readOutputHead } from '#src/interop/tokens/output-head.js';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';
import type { Answer } from './answer.js';

export interface LabelledTexts {
  readonly texts: readonly Answer[];
  /** Ids that occur in the texts; distributions are over these. */
  readonly vocabulary: number;
  /** Mean probability that the teacher gives to them, of all labels or some. */
  readonly mass: number;
  /** The teacher's output matrix of these ids, if hidden states are known. */
  readonly head?: OutputHead;
}

/** Labels of the first text whose mass is measured. */
const MASS_LABELS = 128;

/**
 * Texts with a teacher's hidden states that were computed before: `hidden.npy` [tokens, width] behind the last norm,
 * `head.npy` [ids, width], `tokens.npy` and `lengths.npy` of the texts. Ids that do not occur in any text are left out.
 */
export async function textsOfStates(
  folder: string,
  most = Number.POSITIVE_INFINITY,
): Promise<LabelledTexts> {
  const file = (name: string) => join(folder, `${name}.npy`);
  const head = await readOutputHead(file('head'));
  await using labels = await openTokenLabels({
    ...{ source: file('hidden'), from: 'hidden', vocabulary: head.vocabulary },
    ...{ tokens: file('tokens'), lengths: file('lengths') },
  });
  const read: { readonly tokens: Int32Array; readonly hidden: Float32Array }[] = [];
  for await (const { tokens, rows, labels: own } of labels.sequences()) {
    if (read.length >= most) break;
    if (own.kind !== 'hidden' || tokens === undefined) throw noStates(folder);
    read.push({ tokens: tokens.slice(), hidden: (await own.read(0, rows)).slice() });
  }
  const ids = [...new Set(read.flatMap(({ tokens }) => [...tokens]))].sort((a, b) => a - b);
  const own = new Map(ids.map((id, i) => [id, i]));
  const all = tf.tensor2d(head.weights, [head.vocabulary, head.width]);
  const known = tf.tidy(() => tf.gather(all, tf.tensor1d(ids, 'int32')));
  const mass = massOf(read[0].hidden.subarray(0, MASS_LABELS * head.width), all, known);
  const texts = read.map(({ tokens, hidden }) => {
    // What follows the last token is not known.
    const rows = tokens.length - 1;
    const states = hidden.subarray(0, rows * head.width);
    const logs = tf.tidy(() => {
      const logits = tf.matMul(tf.tensor2d(states, [rows, head.width]), known, false, true);
      return tf.logSoftmax(logits).dataSync() as Float32Array;
    });
    return { tokens: tokens.map((id) => own.get(id) ?? 0), first: 0, rows, logs, hidden: states };
  });
  const weights = known.dataSync() as Float32Array;
  tf.dispose([all, known]);
  const vocabulary = ids.length;
  return { texts, vocabulary, mass, head: { vocabulary, width: head.width, weights } };
}

function massOf(hidden: Float32Array, all: tf.Tensor2D, known: tf.Tensor2D): number {
  return tf.tidy(() => {
    const states = tf.tensor2d(hidden, [hidden.length / all.shape[1], all.shape[1]]);
    const sum = (head: tf.Tensor2D) => tf.logSumExp(tf.matMul(states, head, false, true), 1);
    return sum(known).sub(sum(all)).exp().mean().dataSync()[0];
  });
}

function noStates(folder: string): SoftpackError {
  const details = { field: folder, expected: 'hidden states and their texts', found: 'others' };
  return new SoftpackError('INVALID_ARGUMENT', 'no labels for this experiment', details);
}
