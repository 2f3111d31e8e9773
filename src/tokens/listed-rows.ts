import { CounterRng, STREAM, unit } from '../core/philox.js';
import { SoftpackError } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
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
  readonly kernels: Kernels;
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
    listDense(logits, labels.width, start, sequence, vocabulary, options, listed);
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

/** Lists labels [rows, width] from `start` of a sequence on. */
function listDense(
  logits: Float32Array,
  width: number,
  start: number,
  { name, first }: TokenSequence,
  vocabulary: number,
  { k, samples, seed, sequence, tailSums, kernels }: ListOptions,
  out: ListedRows,
): void {
  const rows = logits.length / width;
  const uniforms = new Float64Array(rows * samples);
  for (let row = 0; row < rows && samples > 0; row++) {
    uniforms.set(drawsOf(seed, sequence, first + start + row, samples), row * samples);
  }
  const most = Math.min(k, vocabulary);
  const ids = new Uint32Array(rows * most);
  const drawn = out.samples.subarray(start * samples, (start + rows) * samples);
  const sums = new Float64Array(rows);
  const sizes = { width, vocabulary, k: most, samples };
  const listed = kernels.listTokens({ logits, ...sizes, uniforms, ids, drawn, sums });
  if (listed < rows) {
    const own = logits.subarray(listed * width, listed * width + vocabulary);
    throw noDistribution(own, `${name}: label ${start + listed}`);
  }
  for (let row = 0; row < rows; row++) {
    const own = logits.subarray(row * width, row * width + vocabulary);
    const top = ids.subarray(row * most, (row + 1) * most);
    const at = (start + row) * k;
    out.counts[start + row] = most;
    out.ids.set(top, at);
    const logSum = Math.log(sums[row]);
    for (const [i, id] of top.entries()) out.logProbs[at + i] = own[id] - own[top[0]] - logSum;
    if (tailSums !== undefined) addTail(own, top, logSum, tailSums);
  }
}

/** Adds what a label leaves to the ids that it does not list. */
function addTail(
  logits: Float32Array,
  listed: Uint32Array,
  logSum: number,
  sums: Float64Array,
): void {
  const top = logits[listed[0]];
  const before = Array.from(listed, (id) => sums[id]);
  for (const [id, logit] of logits.entries()) sums[id] += Math.exp(logit - top - logSum);
  for (const [i, id] of listed.entries()) sums[id] = before[i];
}

function noDistribution(logits: Float32Array, label: string): SoftpackError {
  const wrong = logits.findIndex((logit) => !(logit < Number.POSITIVE_INFINITY));
  const id = Math.max(wrong, 0);
  return new SoftpackError('NON_FINITE', 'a logit is not a number', {
    field: `${label}, id ${id}`,
    expected: 'finite numbers',
    found: logits[id],
  });
}

/**
 * Numbers in [0, 1) that belong to a position of a sequence, ascending: systematic sampling, one draw and steps of 1 / count.
 * An id of probability p is then drawn floor or ceil(count p) times, p count times in the mean, which differs less
 * between draws than independent ones do.
 */
function drawsOf(seed: number, sequence: number, position: number, count: number): Float64Array {
  const draw = unit(new CounterRng(seed).words(sequence, position, STREAM.tokens, 0)[0]);
  return Float64Array.from({ length: count }, (_, i) => (i + draw) / count);
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
