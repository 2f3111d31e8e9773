import { CounterRng, STREAM, unit } from '../core/philox.js';
import { SoftpackError } from '../errors.js';
import type { SparseRows, TokenSequence } from './token-source.js';

/** What a codec stores of some labels, before it is coded. */
export interface ListedRows {
  readonly rows: number;
  /** Most entries per label. */
  readonly k: number;
  /** [rows]: entries of each label. */
  readonly counts: Uint32Array;
  /** [rows, k], the most probable first. */
  readonly ids: Uint32Array;
  /** [rows, k]; they never add up to more than 1. */
  readonly logProbs: Float32Array;
  /**
   * [rows, samples]: ids drawn from what is not listed; they may repeat. Where nothing is left to draw from they are
   * the least probable listed id, and share no mass.
   */
  readonly samples: Uint32Array;
}

export interface ListOptions {
  readonly k: number;
  /** Ids drawn from the tail per label. */
  readonly samples: number;
  readonly seed: number;
  /** Number of the sequence, which draws depend on. */
  readonly sequence: number;
  /** [vocabulary]: what labels leave to each id that they do not list is added to it. */
  readonly tailSums?: Float64Array;
}

/** Rounding that a sum of probabilities may have. */
const ROUNDING = 1e-2;
/** Labels that are read at a time, 2^22 numbers of a dense teacher: 16 MB. */
const READ_ELEMENTS = 2 ** 22;

/** The `k` most probable ids of each label and, from a whole distribution, ids drawn from its tail. */
export async function listRows(
  sequence: TokenSequence,
  vocabulary: number,
  options: ListOptions,
): Promise<ListedRows> {
  const { labels, rows } = sequence;
  const listed = emptyRows(rows, options);
  if (labels.kind === 'sparse') {
    if (options.samples > 0 || options.tailSums !== undefined) {
      throw noTail(sequence, 'a few ids per label');
    }
    for (let row = 0; row < rows; row++) listSparse(labels, row, sequence, listed);
    return listed;
  }
  if (labels.kind === 'hidden') throw noTail(sequence, 'hidden states');
  const step = Math.max(1, Math.floor(READ_ELEMENTS / labels.width));
  for (let start = 0; start < rows; start += step) {
    const count = Math.min(step, rows - start);
    const logits = await labels.read(start, count);
    for (let i = 0; i < count; i++) {
      const row = logits.subarray(i * labels.width, i * labels.width + vocabulary);
      listDense(row, start + i, sequence, options, listed);
    }
  }
  return listed;
}

function noTail({ name }: TokenSequence, found: string): SoftpackError {
  return new SoftpackError('UNSUPPORTED', 'these labels do not tell the whole distribution', {
    field: name,
    expected: "logits of all ids, or a codec that asks for no tail ('ghost', 'uniform' or 'zero')",
    found,
  });
}

function emptyRows(rows: number, { k, samples }: ListOptions): ListedRows {
  return {
    rows,
    k,
    counts: new Uint32Array(rows),
    ids: new Uint32Array(rows * k),
    logProbs: new Float32Array(rows * k).fill(Number.NEGATIVE_INFINITY),
    samples: new Uint32Array(rows * samples),
  };
}

/** The most probable entries of a label, whatever their order; `INVALID_ARGUMENT` for what is no distribution. */
function listSparse(
  { offsets, ids, logProbs }: SparseRows,
  row: number,
  { name }: TokenSequence,
  out: ListedRows,
): void {
  const [begin, end] = [offsets[row], offsets[row + 1]];
  const order = Array.from({ length: end - begin }, (_, i) => begin + i);
  order.sort((a, b) => logProbs[b] - logProbs[a] || ids[a] - ids[b]);
  const mass = order.reduce((sum, i) => sum + Math.exp(logProbs[i]), 0);
  const different = new Set(order.map((i) => ids[i])).size === order.length;
  if (!different || !(mass <= 1 + ROUNDING)) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not a label', {
      field: `${name}: label ${row}`,
      expected: 'different ids whose probabilities add up to at most 1',
      found: different ? `a sum of ${mass}` : 'an id twice',
    });
  }
  const kept = order.slice(0, out.k);
  out.counts[row] = kept.length;
  for (const [i, from] of kept.entries()) {
    out.ids[row * out.k + i] = ids[from];
    out.logProbs[row * out.k + i] = Math.min(logProbs[from], 0);
  }
}

function listDense(
  logits: Float32Array,
  row: number,
  { name, first }: TokenSequence,
  { k, samples, seed, sequence, tailSums }: ListOptions,
  out: ListedRows,
): void {
  const { probabilities, wrong } = softmax(logits);
  if (wrong !== undefined) {
    throw new SoftpackError('NON_FINITE', 'a logit is not a number', {
      field: `${name}: label ${row}, id ${wrong}`,
      expected: 'finite numbers',
      found: logits[wrong],
    });
  }
  const top = largest(probabilities, k);
  out.counts[row] = top.length;
  for (const [i, id] of top.entries()) {
    out.ids[row * k + i] = id;
    out.logProbs[row * k + i] = Math.log(probabilities[id]);
    // What is left is the tail.
    probabilities[id] = 0;
  }
  if (tailSums !== undefined) {
    for (let id = 0; id < tailSums.length; id++) tailSums[id] += probabilities[id];
  }
  const uniforms = drawsOf(seed, sequence, first + row, samples);
  const spare = top[top.length - 1] ?? 0;
  out.samples.set(drawIds(probabilities, uniforms, spare), row * samples);
}

/** Probabilities in float64; `wrong` is the first id whose logit is no number. */
function softmax(logits: Float32Array): { probabilities: Float64Array; wrong?: number } {
  const probabilities = new Float64Array(logits.length);
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) {
    if (!(logits[i] < Number.POSITIVE_INFINITY)) return { probabilities, wrong: i };
    if (logits[i] > top) top = logits[i];
  }
  if (top === Number.NEGATIVE_INFINITY) return { probabilities, wrong: 0 };
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    probabilities[i] = Math.exp(logits[i] - top);
    sum += probabilities[i];
  }
  for (let i = 0; i < logits.length; i++) probabilities[i] /= sum;
  return { probabilities };
}

/** Ids of the `k` largest values, of equal ones the lowest, in descending order. */
function largest(values: Float64Array, k: number): number[] {
  const top: number[] = [];
  let least = -1;
  for (let id = 0; id < values.length; id++) {
    const value = values[id];
    if (top.length === k && value <= least) continue;
    let at = top.length;
    while (at > 0 && values[top[at - 1]] < value) at--;
    top.splice(at, 0, id);
    if (top.length > k) top.pop();
    if (top.length === k) least = k === 0 ? Number.POSITIVE_INFINITY : values[top[k - 1]];
  }
  return top;
}

/** Numbers in [0, 1) that belong to a position of a sequence, ascending. */
function drawsOf(seed: number, sequence: number, position: number, count: number): Float64Array {
  const rng = new CounterRng(seed);
  const draws = new Float64Array(count);
  for (let i = 0; i < count; i += 4) {
    const words = rng.words(sequence, position, STREAM.tokens, i / 4);
    for (let j = 0; j < 4 && i + j < count; j++) draws[i + j] = unit(words[j]);
  }
  return draws.sort();
}

/** Ids drawn in proportion to `weights`, one for each of the ascending `uniforms`; `spare` if all weights are 0. */
export function drawIds(weights: Float64Array, uniforms: Float64Array, spare: number): Uint32Array {
  const drawn = new Uint32Array(uniforms.length).fill(spare);
  const total = uniforms.length === 0 ? 0 : weights.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) return drawn;
  let [id, below, last] = [0, weights[0], spare];
  for (const [i, uniform] of uniforms.entries()) {
    const goal = uniform * total;
    while (below <= goal && id + 1 < weights.length) below += weights[++id];
    // Rounding may lead beyond the last id that has any weight.
    if (weights[id] > 0) last = id;
    drawn[i] = last;
  }
  return drawn;
}
