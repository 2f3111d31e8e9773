import * as tf from '@tensorflow/tfjs';
import type { ExactLogits } from '../tokens/targets.js';
import { type Distance, type Divergence, mixture } from './token-distance.js';
import type { HiddenTargets } from './token-targets.js';

/**
 * Teacher's logits that are in memory at a time, as float32: 256 MB. Those that fit are made once: a step of 1,024 tokens and 49,152
 * ids then takes two thirds of the time (measured: AMD Zen 4, one thread of TensorFlow, 2026-11-30).
 */
const CHUNK_ELEMENTS = 2 ** 26;

/**
 * Distance from hidden states, exact over the whole vocabulary: the teacher's logits, corrected where labels say so, are made
 * a range of tokens at a time, once for the logarithm of their sum and once for the divergence, or once if all of them fit.
 *
 * @param logits [positions, vocabulary].
 * @param elements of the teacher that are in memory at a time.
 */
export function hiddenDistance(
  logits: tf.Tensor2D,
  targets: HiddenTargets,
  divergence: Divergence,
  tau: number,
  elements = CHUNK_ELEMENTS,
): Distance {
  const { positions, vocabulary } = targets;
  const states = statesOf(targets);
  const columns = Math.max(1, Math.floor(elements / positions));
  // Those that fit are made once.
  const made = (from: number, count: number) => teacherLogits(states, targets, from, count, tau);
  const all = columns < vocabulary ? undefined : made(0, vocabulary);
  const teacherOf = (from: number, count: number) => all ?? made(from, count);
  const log = tf.logSoftmax(tau === 1 ? logits : logits.div(tau)) as tf.Tensor2D;
  const logSum = logSumOf(targets, columns, teacherOf);
  const parts: tf.Tensor[] = [];
  let value = tf.zeros([positions, 1]);
  for (let from = 0; from < vocabulary; from += columns) {
    const count = Math.min(columns, vocabulary - from);
    const part = tf.tidy(() => {
      const student = log.slice([0, from], [positions, count]);
      const teacher = teacherOf(from, count).sub(logSum);
      const own = partOf(student, teacher, divergence);
      return { value: value.add(own.value.sum(1, true)), gradient: own.gradient };
    });
    value = part.value;
    parts.push(part.gradient);
  }
  const gradient = parts.length === 1 ? parts[0] : tf.concat(parts, 1);
  // Derivatives with respect to log q become those with respect to logits; of the forward divergence they are already.
  if (divergence.kind === 'forward') return { value, gradient };
  return { value, gradient: gradient.sub(log.exp().mul(gradient.sum(1, true))) };
}

function statesOf({ hidden, positions, head }: HiddenTargets): tf.Tensor2D {
  return hidden instanceof Float32Array ? tf.tensor2d(hidden, [positions, head.shape[1]]) : hidden;
}

/** Log of the sum of the teacher's exponentials, [positions, 1], by an online softmax. */
function logSumOf(
  { positions, vocabulary }: HiddenTargets,
  columns: number,
  teacherOf: (from: number, count: number) => tf.Tensor,
): tf.Tensor {
  let known = tf.fill([positions, 1], -1e30) as tf.Tensor;
  for (let from = 0; from < vocabulary; from += columns) {
    const count = Math.min(columns, vocabulary - from);
    known = tf.tidy(() => {
      const part = tf.logSumExp(teacherOf(from, count), 1, true);
      const top = known.maximum(part);
      return top.add(known.sub(top).exp().add(part.sub(top).exp()).log());
    });
  }
  return known;
}

/** [positions, count], of tokens from `from` on. */
function teacherLogits(
  hidden: tf.Tensor2D,
  { head, exact }: HiddenTargets,
  from: number,
  count: number,
  tau: number,
): tf.Tensor {
  const rows = head.slice([from, 0], [count, head.shape[1]]);
  const product = tf.matMul(hidden, rows, false, true);
  const added = exact && correctionsOf(exact, from, count);
  const logits = added === undefined ? product : product.add(added);
  return tau === 1 ? logits : logits.div(tau);
}

/** Corrections of some tokens, [positions, count]; undefined if there are none. */
function correctionsOf(
  { width, ids, corrections }: ExactLogits,
  from: number,
  count: number,
): tf.Tensor | undefined {
  const [indices, values]: [number[], number[]] = [[], []];
  for (const [entry, id] of ids.entries()) {
    if (corrections[entry] === 0 || id < from || id >= from + count) continue;
    indices.push(Math.floor(entry / width), id - from);
    values.push(corrections[entry]);
  }
  if (values.length === 0) return undefined;
  const places = tf.tensor2d(indices, [values.length, 2], 'int32');
  return tf.scatterND(places, tf.tensor1d(values), [ids.length / width, count]);
}

/**
 * Terms of the divergence for some tokens and their derivatives: `forward` with respect to the logits, the others with respect to
 * log q, up to what all tokens of a position share.
 */
function partOf(student: tf.Tensor, teacher: tf.Tensor, divergence: Divergence): Distance {
  const [p, q] = [teacher.exp(), student.exp()];
  switch (divergence.kind) {
    case 'forward':
      return { value: p.mul(teacher.sub(student)), gradient: q.sub(p) };
    case 'reverse': {
      const value = q.mul(student.sub(teacher));
      return { value, gradient: value };
    }
    case 'jsd': {
      const { value, slope } = mixture(p, q, divergence.beta);
      return { value, gradient: q.mul(slope) };
    }
  }
}
