import type { Tensor2D } from '@tensorflow/tfjs';
import { FieldChecker } from '../core/check.js';
import { refusePredictor } from '../tokens/config.js';
import type { ExactLogits, ListedTargets, TokenPositions } from '../tokens/targets.js';

/** A teacher's labels of some positions of a text, as a loss reads them. */
export type TokenTargets = ListedTargets | HiddenTargets;

/**
 * Hidden states, which give the teacher's whole distribution: softmax((hidden head^T + corrections) / tau), where a few logits
 * are corrected by what is stored beside some.
 */
export interface HiddenTargets extends TokenPositions {
  readonly kind: 'hidden';
  /** [positions, width], behind the teacher's last norm: a tensor, or numbers as an archive gives them. */
  readonly hidden: Tensor2D | Float32Array;
  /** [vocabulary, width], the teacher's output matrix; kept, not copied. */
  readonly head: Tensor2D;
  readonly exact?: ExactLogits;
}

/** Rounding that a sum of probabilities may have. */
const ROUNDING = 1e-3;

/** Which positions count. */
export interface Counted {
  /** [positions]: 1 for positions that count. */
  readonly counts: Float32Array;
  /** Positions that count. */
  readonly counted: number;
  /** [positions]: next token, 0 where nothing counts. */
  readonly next: Int32Array;
}

/** Entries that are ready for the loss. */
export interface PreparedTargets {
  /** [positions * width, 2]: position and id; unused entries name ids that nothing is added to. */
  readonly indices: Int32Array;
  /** [positions, width]: what the target has there, 0 for positions that do not count. */
  readonly weights: Float32Array;
  /** [positions, width]: 1 for entries in use. */
  readonly used: Float32Array;
  /** [positions]: mass of the tail. */
  readonly rest: Float32Array;
}

/** [positions]: 1 for positions that count. */
function countsOf({ positions, counts, next }: TokenPositions): Float32Array {
  if (counts === undefined) return Float32Array.from(next, (id) => (id < 0 ? 0 : 1));
  const { length } = counts;
  targetChecker().that(length === positions, length, 'counts.length', `${positions}`);
  return Float32Array.from(counts, (one) => (one === 0 ? 0 : 1));
}

/** Checks which positions count. @param alpha share of the divergence: below 1 the next token must be known. */
export function countPositions(targets: TokenTargets, alpha: number): Counted {
  const { positions, vocabulary, next } = targets;
  const check = targetChecker();
  check.count(vocabulary, 'vocabulary', 1, 2 ** 31 - 1);
  check.count(positions, 'positions', 1);
  check.that(next.length === positions, next.length, 'next.length', `${positions}`);
  const strange = next.find((id) => id < -1 || id >= vocabulary);
  check.that(strange === undefined, strange, 'next', `-1 to ${vocabulary - 1}`);
  const counts = countsOf(targets);
  const unknown = alpha < 1 ? next.findIndex((id, t) => id < 0 && counts[t] > 0) : -1;
  check.that(unknown < 0, -1, `next[${unknown}]`, 'the next token, or alpha 1');
  const counted = counts.reduce((sum, one) => sum + one, 0);
  return { counts, counted, next: next.map((id) => Math.max(id, 0)) };
}

/**
 * Checks targets and brings them to the student's temperature.
 *
 * @param tau only labels whose tail is `zero` have others than 1: p^(1/tau) of what is listed is the teacher's
 *   distribution at tau, given that the token is listed.
 */
export function prepareTargets(targets: ListedTargets, tau: number): PreparedTargets {
  checkTargets(targets, tau);
  const { positions, width, ids, probabilities, tail, vocabulary } = targets;
  const check = targetChecker();
  const counts = countsOf(targets);
  const indices = new Int32Array(2 * positions * width);
  const weights = new Float32Array(positions * width);
  const used = new Float32Array(positions * width);
  const rest = new Float32Array(positions);
  const seen = new Map<number, number>();
  for (let t = 0; t < positions; t++) {
    for (let e = t * width; e < (t + 1) * width; e++) indices[2 * e] = t;
    if (counts[t] === 0) continue;
    let sum = 0;
    for (let e = t * width; e < (t + 1) * width; e++) {
      const p = probabilities[e];
      check.that(p >= 0 && p <= 1 + ROUNDING, p, `probabilities[${e}]`, '0 to 1');
      if (p === 0) continue;
      const id = ids[e];
      check.that(id >= 0 && id < vocabulary, id, `ids[${e}]`, `0 to ${vocabulary - 1}`);
      check.that(seen.get(id) !== t, id, `ids[${e}]`, 'an id once per position');
      seen.set(id, t);
      indices[2 * e + 1] = id;
      used[e] = 1;
      weights[e] = tau === 1 ? p : p ** (1 / tau);
      sum += weights[e];
    }
    const whole = tail.kind === 'zero' || tail.kind === 'sampled';
    if (whole) {
      check.that(sum > 0, sum, `probabilities of position ${t}`, 'at least one above 0');
    } else {
      check.that(sum <= 1 + ROUNDING, sum, `probabilities of position ${t}`, 'a sum of at most 1');
    }
    const scale = whole || sum > 1 ? 1 / sum : 1;
    for (let e = t * width; e < (t + 1) * width; e++) weights[e] *= scale;
    rest[t] = whole ? 0 : Math.max(1 - sum, 0);
  }
  return { indices, weights, used, rest };
}

function targetChecker(): FieldChecker {
  return new FieldChecker('targets', 'INVALID_ARGUMENT', 'not labels of tokens');
}

function checkTargets(targets: ListedTargets, tau: number): void {
  const check = targetChecker();
  const { positions, width, ids, probabilities, tail, vocabulary } = targets;
  check.count(width, 'width', 1);
  refusePredictor(tail.kind, 'targets: tail.kind');
  const kinds = ['zero', 'ghost', 'uniform', 'prior', 'sampled'];
  check.oneOf(tail.kind, 'tail.kind', kinds);
  const retempered = tau === 1 || tail.kind === 'zero';
  check.that(retempered, tau, 'tau', `1 for labels with tail '${tail.kind}'`);
  const entries = positions * width;
  check.that(ids.length === entries, ids.length, 'ids.length', `${entries}`);
  const values = probabilities.length;
  check.that(values === entries, values, 'probabilities.length', `${entries}`);
  if (tail.kind !== 'prior') return;
  const { prior } = tail;
  check.that(prior.length === vocabulary, prior.length, 'tail.prior.length', `${vocabulary}`);
  const wrong = prior.find((p) => !(p > 0 && p < Number.POSITIVE_INFINITY));
  check.that(wrong === undefined, wrong, 'tail.prior', 'finite numbers above 0');
}

/** `INVALID_ARGUMENT` if hidden states, output matrix and corrections do not belong together. */
export function checkHidden({ hidden, head, exact, positions, vocabulary }: HiddenTargets): void {
  const check = targetChecker();
  const width = head.shape[1];
  const shape = hidden instanceof Float32Array ? [hidden.length / width, width] : hidden.shape;
  const known = shape[0] === positions && shape[1] === width;
  check.that(known, shape, 'hidden', `[${positions}, ${width}]`);
  const fits = head.shape[0] === vocabulary;
  check.that(fits, head.shape, 'head', `[${vocabulary}, ${width}]`);
  if (exact === undefined) return;
  const { ids, corrections } = exact;
  const entries = positions * check.count(exact.width, 'exact.width', 1);
  check.that(ids.length === entries, ids.length, 'exact.ids.length', `${entries}`);
  const values = corrections.length;
  check.that(values === entries, values, 'exact.corrections.length', `${entries}`);
  const strange = ids.find((id) => !(id >= 0 && id < vocabulary));
  check.that(strange === undefined, strange, 'exact.ids', `0 to ${vocabulary - 1}`);
  const wrong = corrections.find((value) => !Number.isFinite(value));
  check.that(wrong === undefined, wrong, 'exact.corrections', 'finite numbers');
}
