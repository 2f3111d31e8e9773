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
  /** [rows, samples]: ids drawn from what is not listed, ascending; they may repeat. */
  readonly samples: Uint32Array;
}

export interface ListOptions {
  readonly k: number;
  /** Ids drawn from the tail per label. */
  readonly samples: number;
  readonly seed: number;
  /** Number of the sequence, which draws depend on. */
  readonly sequence: number;
}

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
    if (options.samples > 0) throw noTail(sequence, 'a few ids per label');
    for (let row = 0; row < rows; row++) listSparse(labels, row, listed);
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
    expected: "logits of all ids, or a codec without samples (tail 'ghost', 'uniform' or 'zero')",
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

function listSparse({ offsets, ids, logProbs }: SparseRows, row: number, out: ListedRows): void {
  const begin = offsets[row];
  const count = Math.min(offsets[row + 1] - begin, out.k);
  out.counts[row] = count;
  out.ids.set(ids.subarray(begin, begin + count), row * out.k);
  out.logProbs.set(logProbs.subarray(begin, begin + count), row * out.k);
}

function listDense(
  logits: Float32Array,
  row: number,
  { name, first }: TokenSequence,
  { k, samples, seed, sequence }: ListOptions,
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
  const uniforms = drawsOf(seed, sequence, first + row, samples);
  out.samples.set(draw(probabilities, uniforms), row * samples);
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

/** Ids drawn in proportion to `weights`, one for each of the ascending `uniforms`. */
function draw(weights: Float64Array, uniforms: Float64Array): Uint32Array {
  const drawn = new Uint32Array(uniforms.length);
  if (uniforms.length === 0) return drawn;
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let [id, below, last] = [0, weights[0], 0];
  for (const [i, uniform] of uniforms.entries()) {
    const goal = uniform * total;
    while (below <= goal && id + 1 < weights.length) {
      id++;
      below += weights[id];
      if (weights[id] > 0) last = id;
    }
    // Rounding may lead beyond the last id that has any weight.
    drawn[i] = weights[id] > 0 ? id : last;
  }
  return drawn;
}
