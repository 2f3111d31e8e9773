import * as tf from '@tensorflow/tfjs';
import { FieldChecker } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { type PreparedTargets, prepareTargets, type TokenTargets } from './token-targets.js';

/**
 * Distance of the student's distribution q from the teacher's p: `forward` is KL(p || q), `reverse` KL(q || p), `jsd`
 * beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q.
 */
export type Divergence =
  | { readonly kind: 'forward' }
  | { readonly kind: 'reverse' }
  | { readonly kind: 'jsd'; readonly beta: number };

export interface TokenLossOptions {
  /** Default: forward. The others need a teacher that says something of every token: tails `uniform` and `prior`. */
  readonly divergence?: Divergence;
  /** Temperature of student and teacher. Default: 1; others for labels whose tail is `zero`. */
  readonly tau?: number;
  /** Share of the divergence; the rest is the cross-entropy of the text at temperature 1. Default: 1. */
  readonly alpha?: number;
  /**
   * Columns of the logits, if they are more than the teacher's vocabulary (a table of embeddings that is filled up to a
   * multiple): those behind it are left out. Default: no more than the vocabulary.
   */
  readonly paddedVocabulary?: number;
}

/** Kept away from 0 under a logarithm; far below float32's resolution of 1. */
const TINY = 1e-30;
/** Least mass outside of a label's entries, the student's or, in the reverse direction, the teacher's. */
const LEAST_REST = 2 ** -20;

/** Value per position, [positions, 1], and gradient with respect to the scaled logits, [positions, vocabulary]. */
interface Distance {
  readonly value: tf.Tensor;
  readonly gradient: tf.Tensor;
}

/** A student's distributions and what they are at a label's entries. */
interface Student {
  /** [positions, vocabulary], log q. */
  readonly log: tf.Tensor2D;
  /** [positions, vocabulary], q. */
  readonly all: tf.Tensor2D;
  /** [positions, width], log q and q of entries; 0 for unused ones. */
  readonly logListed: tf.Tensor;
  readonly listed: tf.Tensor;
}

/** Tensors of a label's entries, [positions, width], and its tail's mass, [positions, 1]. */
interface Teacher {
  readonly weights: tf.Tensor;
  readonly logWeights: tf.Tensor;
  readonly used: tf.Tensor;
  readonly rest: tf.Tensor;
  readonly indices: tf.Tensor2D;
}

/**
 * Mean distance of a student from labels of tokens, over positions that count; a scalar to minimise.
 *
 * @param logits [positions, vocabulary], or [batch, length, vocabulary] with batch * length positions. Those of a
 *   position predict the token after it, which is what labels of the position are about: nothing is shifted here.
 *
 * Only a label's few entries are in memory, never the teacher's [positions, vocabulary]. With tail `sampled` the value
 * is the divergence up to a constant of the labels; its gradient is unbiased. Like `kdLoss` it is not multiplied by
 * tau^2.
 */
export function tokenLoss(
  logits: tf.Tensor,
  targets: TokenTargets,
  options: TokenLossOptions = {},
): tf.Scalar {
  const { divergence = { kind: 'forward' }, tau = 1, alpha = 1 } = options;
  checkOptions(options, targets);
  const prepared = prepareTargets(targets, tau);
  const columns = columnsOf(logits, targets, options);
  const { positions, vocabulary } = targets;
  const loss = tf.customGrad((z, save) => {
    const [value, gradient] = tf.tidy(() => {
      const padded = (z as tf.Tensor).reshape([positions, columns]) as tf.Tensor2D;
      const own = padded.slice([0, 0], [positions, vocabulary]);
      const blended = blend(own, targets, prepared, { divergence, tau, alpha });
      const scale = column(prepared.counts).div(Math.max(prepared.counted, 1));
      const whole = blended.gradient.mul(scale).pad([
        [0, 0],
        [0, columns - vocabulary],
      ]);
      return [blended.value.mul(scale).sum(), whole.reshape((z as tf.Tensor).shape)];
    });
    (save as tf.GradSaveFunc)([gradient]);
    const gradFunc = (dy: tf.Tensor, [saved]: tf.Tensor[]): tf.Tensor => saved.mul(dy);
    return { value, gradFunc };
  });
  return loss(logits) as tf.Scalar;
}

function blend(
  logits: tf.Tensor2D,
  targets: TokenTargets,
  prepared: PreparedTargets,
  { divergence, tau, alpha }: { divergence: Divergence; tau: number; alpha: number },
): Distance {
  const distance = alpha === 0 ? undefined : distanceOf(logits, targets, prepared, divergence, tau);
  const text = alpha === 1 ? undefined : crossEntropy(logits, prepared);
  if (distance === undefined) return text as Distance;
  const scaled = { value: distance.value, gradient: distance.gradient.div(tau) };
  if (text === undefined) return scaled;
  return {
    value: scaled.value.mul(alpha).add(text.value.mul(1 - alpha)),
    gradient: scaled.gradient.mul(alpha).add(text.gradient.mul(1 - alpha)),
  };
}

/** Cross-entropy of the next token. */
function crossEntropy(logits: tf.Tensor2D, { next }: PreparedTargets): Distance {
  const [positions, vocabulary] = logits.shape;
  const pairs = new Int32Array(2 * positions);
  for (let t = 0; t < positions; t++) pairs.set([t, next[t]], 2 * t);
  const indices = tf.tensor2d(pairs, [positions, 2], 'int32');
  const log = tf.logSoftmax(logits);
  const value = tf.gatherND(log, indices).neg().reshape([positions, 1]);
  const right = tf.scatterND(indices, tf.ones([positions]), [positions, vocabulary]);
  return { value, gradient: log.exp().sub(right) };
}

function distanceOf(
  logits: tf.Tensor2D,
  { tail, width }: TokenTargets,
  prepared: PreparedTargets,
  divergence: Divergence,
  tau: number,
): Distance {
  const teacher = teacherOf(prepared, width);
  const student = studentOf(logits, teacher, tau);
  switch (tail.kind) {
    case 'zero':
    case 'sampled':
      return listedOnly(student, teacher);
    case 'ghost':
      return withGhost(student, teacher);
    case 'uniform':
    case 'prior': {
      const prior = tail.kind === 'prior' ? tf.tensor1d(tail.prior) : tf.ones([logits.shape[1]]);
      const least = divergence.kind === 'reverse' ? LEAST_REST : 0;
      const spread = spreadOf(prior as tf.Tensor1D, teacher, least);
      if (divergence.kind === 'forward') return forwardSpread(student, teacher, spread);
      if (divergence.kind === 'reverse') return reverseSpread(student, teacher, spread);
      return jsdSpread(student, teacher, spread, divergence.beta);
    }
  }
}

function teacherOf({ weights, used, rest, indices }: PreparedTargets, width: number): Teacher {
  const shape: [number, number] = [rest.length, width];
  const tensor = tf.tensor2d(weights, shape);
  return {
    weights: tensor,
    logWeights: tensor.maximum(TINY).log(),
    used: tf.tensor2d(used, shape),
    rest: column(rest),
    indices: tf.tensor2d(indices, [weights.length, 2], 'int32'),
  };
}

function studentOf(logits: tf.Tensor2D, { indices, used }: Teacher, tau: number): Student {
  const log = tf.logSoftmax(tau === 1 ? logits : logits.div(tau)) as tf.Tensor2D;
  const logListed = tf.gatherND(log, indices).reshape(used.shape).mul(used);
  return { log, all: log.exp(), logListed, listed: logListed.exp().mul(used) };
}

/** sum w (log w - log q) of listed entries. */
function listedValue({ logListed }: Student, { weights, logWeights }: Teacher): tf.Tensor {
  return weights.mul(logWeights.sub(logListed)).sum(1, true);
}

/** Adds [positions, width] values to [positions, vocabulary] where the entries are. */
function addAtEntries(dense: tf.Tensor, values: tf.Tensor, { indices, used }: Teacher): tf.Tensor {
  const flat = values.mul(used).reshape([indices.shape[0]]);
  return dense.add(tf.scatterND(indices, flat, dense.shape));
}

function listedOnly(student: Student, teacher: Teacher): Distance {
  const value = listedValue(student, teacher);
  return { value, gradient: addAtEntries(student.all, teacher.weights.neg(), teacher) };
}

/** The tail's gradient is the student's own tail, scaled to the teacher's mass. */
function withGhost(student: Student, teacher: Teacher): Distance {
  const { rest, weights } = teacher;
  const outside = tf.scalar(1).sub(student.listed.sum(1, true)).maximum(LEAST_REST);
  const tail = rest.mul(rest.maximum(TINY).log().sub(outside.log()));
  const share = rest.div(outside);
  const base = student.all.mul(tf.scalar(1).sub(share));
  return {
    value: listedValue(student, teacher).add(tail),
    gradient: addAtEntries(base, student.listed.mul(share).sub(weights), teacher),
  };
}

/** A tail that is spread over all tokens that are not listed: p_j = factor * prior_j. */
interface Spread {
  /** [vocabulary, 1]. */
  readonly prior: tf.Tensor2D;
  /** [positions, 1]. */
  readonly factor: tf.Tensor;
  /** [positions, width]: the prior of listed tokens, 0 for unused entries. */
  readonly priorListed: tf.Tensor;
}

/** @param least of the mass that is spread: without any the reverse divergence is infinite. */
function spreadOf(prior: tf.Tensor1D, { indices, used, rest }: Teacher, least: number): Spread {
  const ids = indices.slice([0, 1], [-1, 1]).reshape([indices.shape[0]]);
  const priorListed = tf
    .gather(prior, ids as tf.Tensor1D)
    .reshape(used.shape)
    .mul(used);
  const unlisted = prior.sum().sub(priorListed.sum(1, true));
  return {
    prior: prior.reshape([prior.shape[0], 1]),
    factor: rest.maximum(least).div(unlisted.maximum(TINY)),
    priorListed,
  };
}

/** x log x, 0 at 0. */
function entropyTerm(x: tf.Tensor): tf.Tensor {
  return x.mul(x.maximum(TINY).log());
}

function forwardSpread(student: Student, teacher: Teacher, spread: Spread): Distance {
  const { prior, factor, priorListed } = spread;
  const logFactor = factor.maximum(TINY).log();
  const priorLogs = entropyTerm(prior).sum().sub(entropyTerm(priorListed).sum(1, true));
  const logs = student.log.matMul(prior).sub(priorListed.mul(student.logListed).sum(1, true));
  const tail = teacher.rest.mul(logFactor).add(factor.mul(priorLogs.sub(logs)));
  const base = student.all.sub(factor.mul(prior.transpose()));
  const atEntries = factor.mul(priorListed).sub(teacher.weights);
  return {
    value: listedValue(student, teacher).add(tail),
    gradient: addAtEntries(base, atEntries, teacher),
  };
}

/** Log of the prior times its factor, where tokens are listed and everywhere. */
function logsOf({ prior, factor, priorListed }: Spread) {
  const logFactor = factor.log();
  return {
    everywhere: logFactor.add(prior.log().transpose()),
    listed: logFactor.add(priorListed.maximum(TINY).log()),
  };
}

function reverseSpread(student: Student, teacher: Teacher, spread: Spread): Distance {
  const logs = logsOf(spread);
  const ratio = student.log.sub(logs.everywhere);
  const correction = logs.listed.sub(teacher.logWeights);
  const value = student.all
    .mul(ratio)
    .sum(1, true)
    .add(student.listed.mul(correction).sum(1, true));
  const base = student.all.mul(ratio.sub(value));
  return { value, gradient: addAtEntries(base, student.listed.mul(correction), teacher) };
}

function jsdSpread(student: Student, teacher: Teacher, spread: Spread, beta: number): Distance {
  const { factor, prior, priorListed } = spread;
  const everywhere = mixture(factor.mul(prior.transpose()), student.all, beta);
  const instead = mixture(factor.mul(priorListed), student.listed, beta);
  const listed = mixture(teacher.weights, student.listed, beta);
  const sum = (part: tf.Tensor) => part.sum(1, true);
  const value = sum(everywhere.value).add(sum(listed.value.sub(instead.value)));
  const change = student.listed.mul(listed.slope.sub(instead.slope));
  const mean = sum(student.all.mul(everywhere.slope)).add(sum(change));
  const base = student.all.mul(everywhere.slope.sub(mean));
  return { value, gradient: addAtEntries(base, change, teacher) };
}

/** beta p log(p / m) + (1 - beta) q log(q / m), and its derivative with respect to q. */
function mixture(p: tf.Tensor, q: tf.Tensor, beta: number) {
  const log = (x: tf.Tensor) => x.maximum(TINY).log();
  const logMixture = log(p.mul(beta).add(q.mul(1 - beta)));
  const slope = log(q)
    .sub(logMixture)
    .mul(1 - beta);
  return { value: p.mul(log(p).sub(logMixture)).mul(beta).add(q.mul(slope)), slope };
}

function column(values: Float32Array): tf.Tensor {
  return tf.tensor2d(values, [values.length, 1]);
}

function checkOptions(
  { divergence = { kind: 'forward' }, alpha = 1 }: TokenLossOptions,
  { tail }: TokenTargets,
): void {
  const check = new FieldChecker('', 'INVALID_ARGUMENT');
  check.number(alpha, 'alpha', 0, 1);
  check.oneOf(divergence.kind, 'divergence.kind', ['forward', 'reverse', 'jsd']);
  if (divergence.kind === 'forward') return;
  if (divergence.kind === 'jsd') check.share(divergence.beta, 'divergence.beta');
  if (tail.kind === 'uniform' || tail.kind === 'prior') return;
  throw new SoftpackError('UNSUPPORTED', 'this divergence needs the probability of every token', {
    field: 'divergence',
    expected: "forward, or labels whose tail is 'uniform' or 'prior'",
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
