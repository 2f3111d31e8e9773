import * as tf from '@tensorflow/tfjs';
import type { ListedTargets } from '../tokens/targets.js';
import { column, type Distance, type Divergence, mixture, TINY } from './token-distance.js';
import type { PreparedTargets } from './token-targets.js';

/** Least mass outside of a label's entries, the student's or, in the reverse direction, the teacher's. */
const LEAST_REST = 2 ** -20;

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

/** Distance from labels that list a few tokens. @param logits [positions, vocabulary]. */
export function listedDistance(
  logits: tf.Tensor2D,
  { tail, width }: ListedTargets,
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
