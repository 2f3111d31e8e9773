import * as tf from '@tensorflow/tfjs';
import { FieldChecker } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { warnOfPlainBackend } from '../nn/backend/plain-backend.js';
import { hiddenDistance } from './hidden-distance.js';
import { listedDistance } from './listed-distance.js';
import { column, type Distance, type Divergence } from './token-distance.js';
import {
  type Counted,
  checkHidden,
  countPositions,
  prepareTargets,
  type TokenTargets,
} from './token-targets.js';

export interface TokenLossOptions {
  /**
   * Default: forward. The others need a teacher that says something of every token: hidden states, tails `uniform` and
   * `prior`.
   */
  readonly divergence?: Divergence;
  /** Temperature of student and teacher. Default: 1; others for hidden states and labels whose tail is `zero`. */
  readonly tau?: number;
  /** Share of the divergence; the rest is the cross-entropy of the text at temperature 1. Default: 1. */
  readonly alpha?: number;
  /**
   * Columns of the logits, if they are more than the teacher's vocabulary (a table of embeddings that is filled up to a
   * multiple): those behind it are left out. Default: no more than the vocabulary.
   */
  readonly paddedVocabulary?: number;
}

/**
 * Mean distance of a student from labels of tokens, over positions that count; a scalar to minimise.
 *
 * @param logits [positions, vocabulary], or [batch, length, vocabulary] with batch * length positions. Those of a
 *   position predict the token after it, which is what labels of the position are about: nothing is shifted here.
 *
 * Of the teacher's [positions, vocabulary] few entries are in memory, and of hidden states 256 MB at a time. With tail `sampled` the
 * value is the divergence up to a constant of the labels; its gradient is unbiased. Like `kdLoss` it is not multiplied by
 * tau^2.
 */
export function tokenLoss(
  logits: tf.Tensor,
  targets: TokenTargets,
  options: TokenLossOptions = {},
): tf.Scalar {
  const { divergence = { kind: 'forward' }, tau = 1, alpha = 1 } = options;
  checkOptions(options, targets);
  warnOfPlainBackend(tf.getBackend());
  const counted = countPositions(targets, alpha);
  const distanceOf = distanceTo(targets, divergence, tau);
  const columns = columnsOf(logits, targets, options);
  const { positions, vocabulary } = targets;
  const loss = tf.customGrad((z, save) => {
    const [value, gradient] = tf.tidy(() => {
      const all = (z as tf.Tensor).reshape([positions, columns]) as tf.Tensor2D;
      const padding = columns - vocabulary;
      // Each pass over [positions, vocabulary] counts: what changes nothing is left out.
      const own = padding === 0 ? all : all.slice([0, 0], [positions, vocabulary]);
      const blended = blend(own, counted, distanceOf, { tau, alpha });
      const scale = column(counted.counts).div(Math.max(counted.counted, 1));
      const gradient = blended.gradient.mul(scale);
      const whole = padding === 0 ? gradient : tf.pad(gradient, [NONE, [0, padding]]);
      return [blended.value.mul(scale).sum(), whole.reshape((z as tf.Tensor).shape)];
    });
    (save as tf.GradSaveFunc)([gradient]);
    const gradFunc = (dy: tf.Tensor, [saved]: tf.Tensor[]): tf.Tensor => saved.mul(dy);
    return { value, gradFunc };
  });
  return loss(logits) as tf.Scalar;
}

/** Of rows, which are not padded. */
const NONE: [number, number] = [0, 0];

/** What gives the distance of logits from labels, which are checked here. */
function distanceTo(
  targets: TokenTargets,
  divergence: Divergence,
  tau: number,
): (logits: tf.Tensor2D) => Distance {
  if (targets.kind === 'hidden') {
    checkHidden(targets);
    return (logits) => hiddenDistance(logits, targets, divergence, tau);
  }
  const prepared = prepareTargets(targets, tau);
  return (logits) => listedDistance(logits, targets, prepared, divergence, tau);
}

function blend(
  logits: tf.Tensor2D,
  counted: Counted,
  distanceOf: (logits: tf.Tensor2D) => Distance,
  { tau, alpha }: { readonly tau: number; readonly alpha: number },
): Distance {
  const distance = alpha === 0 ? undefined : distanceOf(logits);
  const text = alpha === 1 ? undefined : crossEntropy(logits, counted);
  if (distance === undefined) return text as Distance;
  const { value, gradient } = distance;
  const scaled = tau === 1 ? distance : { value, gradient: gradient.div(tau) };
  if (text === undefined) return scaled;
  return {
    value: scaled.value.mul(alpha).add(text.value.mul(1 - alpha)),
    gradient: scaled.gradient.mul(alpha).add(text.gradient.mul(1 - alpha)),
  };
}

/** Cross-entropy of the next token. */
function crossEntropy(logits: tf.Tensor2D, { next }: Counted): Distance {
  const [positions, vocabulary] = logits.shape;
  const pairs = new Int32Array(2 * positions);
  for (let t = 0; t < positions; t++) pairs.set([t, next[t]], 2 * t);
  const indices = tf.tensor2d(pairs, [positions, 2], 'int32');
  const log = tf.logSoftmax(logits);
  const value = tf.gatherND(log, indices).neg().reshape([positions, 1]);
  const right = tf.scatterND(indices, tf.ones([positions]), [positions, vocabulary]);
  return { value, gradient: log.exp().sub(right) };
}

function checkOptions(
  { divergence = { kind: 'forward' }, tau = 1, alpha = 1 }: TokenLossOptions,
  targets: TokenTargets,
): void {
  const check = new FieldChecker('', 'INVALID_ARGUMENT');
  check.positive(tau, 'tau');
  check.number(alpha, 'alpha', 0, 1);
  check.oneOf(divergence.kind, 'divergence.kind', ['forward', 'reverse', 'jsd']);
  if (divergence.kind === 'forward') return;
  if (divergence.kind === 'jsd') check.share(divergence.beta, 'divergence.beta');
  if (targets.kind === 'hidden') return;
  const { tail } = targets;
  if (tail.kind === 'uniform' || tail.kind === 'prior') return;
  throw new SoftpackError('UNSUPPORTED', 'this divergence needs the probability of every token', {
    field: 'divergence',
    expected: "forward, hidden states, or labels whose tail is 'uniform' or 'prior'",
    found: `${divergence.kind} with tail '${tail.kind}'`,
  });
}

/** Columns of the logits. `INVALID_ARGUMENT` if they do not belong to these labels. */
function columnsOf(
  logits: tf.Tensor,
  { positions, vocabulary }: TokenTargets,
  { paddedVocabulary = vocabulary }: TokenLossOptions,
): number {
  const columns = logits.shape[logits.rank - 1] ?? 0;
  const rows = columns === 0 ? 0 : logits.size / columns;
  const known = paddedVocabulary >= vocabulary && columns === paddedVocabulary;
  if (rows === positions && known) return columns;
  throw new SoftpackError('INVALID_ARGUMENT', 'logits and labels do not match', {
    field: 'logits',
    expected: `${positions} positions of ${paddedVocabulary} tokens`,
    found: logits.shape,
  });
}
