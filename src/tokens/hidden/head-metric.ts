import type { Kernels } from '../../kernels/types.js';
import { type ExactIds, type ExactRule, NO_IDS, takeExact } from './exact-ids.js';
import { headLogits } from './head-logits.js';
import type { OutputHead } from './output-head.js';

/** Probabilities in memory at a time: 32 MB. */
const PIECE_ELEMENTS = 2 ** 23;
/** Rows of the matrix that are scaled at a time. */
const HEAD_ROWS = 4096;

/**
 * What differences between hidden states are worth to the teacher's distribution, which its output matrix tells: to what it
 * is of ids whose logits are not corrected, if some are.
 */
export class HeadMetric {
  readonly #head: OutputHead;
  readonly #kernels: Kernels;
  readonly #rule: ExactRule;
  readonly #rows: number;

  constructor(head: OutputHead, kernels: Kernels, rule: ExactRule = NO_IDS) {
    this.#head = head;
    this.#kernels = kernels;
    this.#rule = rule;
    this.#rows = Math.max(1, Math.floor(PIECE_ELEMENTS / head.vocabulary));
  }

  /**
   * The mean over `states` [count, width] of W^T (diag p - p p^T) W, [width, width]: half of its quadratic form is the
   * divergence that a small difference makes.
   */
  async meanFisher(states: Float32Array): Promise<Float64Array> {
    const { vocabulary, width, weights } = this.#head;
    const mass = new Float64Array(vocabulary);
    const crossed = new Float32Array(width * width);
    for await (const { probabilities, count, exact } of this.#softmaxes(states)) {
      for (let i = 0; i < probabilities.length; i++) mass[i % vocabulary] += probabilities[i];
      const means = await this.#meanRows(probabilities, count);
      for (let i = 0; i < means.length; i++)
        means[i] /= Math.sqrt(exact[Math.floor(i / width)].rest);
      await this.#addSquare(means, means, count, crossed);
    }
    const weighted = new Float32Array(width * width);
    for (let from = 0; from < vocabulary; from += HEAD_ROWS) {
      const rows = weights.subarray(from * width, (from + HEAD_ROWS) * width);
      const scaled = rows.map((value, i) => value * mass[from + Math.floor(i / width)]);
      await this.#addSquare(scaled, rows, rows.length / width, weighted);
    }
    const count = states.length / width;
    return Float64Array.from(weighted, (value, i) => (value - crossed[i]) / count);
  }

  /**
   * Squared error of each label's logits, weighted by its own probabilities, if its state has errors of variance 1 along
   * each row of `basis` [rank, width].
   */
  async sensitivities(states: Float32Array, basis: SensitivityBasis): Promise<Sensitivities> {
    const { vocabulary, width } = this.#head;
    const { rows: vectors, rank, squares } = basis;
    const out = new Float64Array(states.length / width);
    const all: ExactIds[] = [];
    for await (const { probabilities, start, count, exact } of this.#softmaxes(states)) {
      all.push(...exact);
      const means = await this.#meanRows(probabilities, count);
      const along = new Float32Array(count * rank);
      const shape = { rows: count, inner: width, columns: rank, transposeB: true };
      await this.#kernels.projectAsync({ a: means, b: vectors, out: along, ...shape });
      for (let row = 0; row < count; row++) {
        let sum = 0;
        for (let id = 0; id < vocabulary; id++) {
          sum += probabilities[row * vocabulary + id] * squares[id];
        }
        for (let j = 0; j < rank; j++) sum -= along[row * rank + j] ** 2 / exact[row].rest;
        out[start + row] = Math.max(sum, 0);
      }
    }
    return { values: out, exact: all };
  }

  /** Ids of each label whose logits are corrected. */
  async exactIds(states: Float32Array): Promise<readonly ExactIds[]> {
    const all: ExactIds[] = [];
    for await (const { exact } of this.#softmaxes(states)) all.push(...exact);
    return all;
  }

  /** What corrects the logits of `others` [labels, width] at these ids, as those that are left are taken for right. */
  async corrections(
    others: Float32Array,
    exact: readonly ExactIds[],
  ): Promise<readonly Float64Array[]> {
    const { vocabulary, width } = this.#head;
    const all: Float64Array[] = [];
    for (let start = 0; start < exact.length; start += this.#rows) {
      const own = exact.slice(start, start + this.#rows);
      const part = others.subarray(start * width, (start + own.length) * width);
      const logits = await headLogits(part, this.#head, this.#kernels);
      for (const [row, ids] of own.entries()) {
        all.push(correctionsOf(ids, logits.subarray(row * vocabulary, (row + 1) * vocabulary)));
      }
    }
    return all;
  }

  /** What {@link sensitivities} needs of a basis [rank, width]. */
  async sensitivityBasis(rows: Float32Array): Promise<SensitivityBasis> {
    const { vocabulary, width, weights } = this.#head;
    const rank = rows.length / width;
    const squares = new Float64Array(vocabulary);
    const part = new Float32Array(HEAD_ROWS * rank);
    for (let from = 0; from < vocabulary; from += HEAD_ROWS) {
      const own = weights.subarray(from * width, (from + HEAD_ROWS) * width);
      const count = own.length / width;
      const out = part.subarray(0, count * rank);
      const shape = { rows: count, inner: width, columns: rank, transposeB: true };
      await this.#kernels.projectAsync({ a: own, b: rows, out, ...shape });
      for (let i = 0; i < out.length; i++) squares[from + Math.floor(i / rank)] += out[i] ** 2;
    }
    return { rows, rank, squares };
  }

  /** KL(p || q) of each label's distribution from that of its counterpart in `others`. */
  async divergences(states: Float32Array, others: Float32Array): Promise<Float64Array> {
    const { vocabulary, width } = this.#head;
    const out = new Float64Array(states.length / width);
    for await (const { probabilities, start, count, exact } of this.#softmaxes(states)) {
      const part = others.subarray(start * width, (start + count) * width);
      const logits = await headLogits(part, this.#head, this.#kernels);
      for (let row = 0; row < count; row++) {
        const p = probabilities.subarray(row * vocabulary, (row + 1) * vocabulary);
        const own = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
        for (const id of exact[row].ids) own[id] = Number.NEGATIVE_INFINITY;
        out[start + row] = Math.max(divergenceFrom(p, exact[row].rest, own), 0);
      }
    }
    return out;
  }

  async *#softmaxes(states: Float32Array) {
    const { width, vocabulary } = this.#head;
    const total = states.length / width;
    for (let start = 0; start < total; start += this.#rows) {
      const count = Math.min(this.#rows, total - start);
      const part = states.subarray(start * width, (start + count) * width);
      const probabilities = await headLogits(part, this.#head, this.#kernels);
      const exact = Array.from({ length: count }, (_, row) => {
        const own = probabilities.subarray(row * vocabulary, (row + 1) * vocabulary);
        softmax(own);
        return takeExact(own, this.#rule);
      });
      yield { probabilities, start, count, exact };
    }
  }

  /** The matrix's mean row under each distribution, [count, width]. */
  async #meanRows(probabilities: Float32Array, count: number): Promise<Float32Array> {
    const { vocabulary, width, weights } = this.#head;
    const out = new Float32Array(count * width);
    const shape = { rows: count, inner: vocabulary, columns: width };
    await this.#kernels.projectAsync({ a: probabilities, b: weights, out, ...shape });
    return out;
  }

  /** Adds a^T b of [count, width] matrices to `out` [width, width]. */
  async #addSquare(a: Float32Array, b: Float32Array, count: number, out: Float32Array) {
    const { width } = this.#head;
    const shape = { rows: width, inner: count, columns: width, transposeA: true };
    await this.#kernels.projectAsync({ a, b, out, ...shape, accumulate: true });
  }
}

export interface Sensitivities {
  /** [labels]. */
  readonly values: Float64Array;
  /** [labels], what is not counted in them. */
  readonly exact: readonly ExactIds[];
}

export interface SensitivityBasis {
  /** [rank, width]. */
  readonly rows: Float32Array;
  readonly rank: number;
  /** [vocabulary]: squared length of a row of the output matrix, seen along the basis. */
  readonly squares: Float64Array;
}

/** In place. */
function softmax(logits: Float32Array): void {
  const top = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    logits[i] = Math.exp(logits[i] - top);
    sum += logits[i];
  }
  for (let i = 0; i < logits.length; i++) logits[i] /= sum;
}

/** Mass times KL of probabilities, which may add up to less than 1, from a softmax of logits. */
function divergenceFrom(p: Float32Array, mass: number, logits: Float32Array): number {
  const logSum = logSumOf(logits);
  let distance = -mass * Math.log(mass);
  for (let i = 0; i < p.length; i++) {
    if (p[i] > 0) distance += p[i] * (Math.log(p[i]) - logits[i] + logSum);
  }
  return distance;
}

/** Differences of log(p / rest) between a distribution and a softmax of logits, which are changed. */
function correctionsOf({ ids, probabilities, rest }: ExactIds, logits: Float32Array): Float64Array {
  const wanted = Float64Array.from(probabilities, (p, i) => Math.log(p / rest) - logits[ids[i]]);
  for (const id of ids) logits[id] = Number.NEGATIVE_INFINITY;
  const sum = logSumOf(logits);
  return wanted.map((own) => own + sum);
}

function logSumOf(logits: Float32Array): number {
  const top = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - top);
  return top + Math.log(sum);
}
