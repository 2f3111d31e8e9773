import { checkCentreLogits, checkDequantise, checkQuantise } from '../check/quantiser.js';
import {
  type CentreLogitsArgs,
  type DequantiseArgs,
  MOST_UNITS,
  multipleOf,
  type QuantiseArgs,
  SHIFT_UNIT,
} from '../quantiser.js';
import { RANS_SYMBOLS, TRELLISES } from '../rans.js';

export function centreLogits(args: CentreLogitsArgs): void {
  const { logits, classes, depth, mean, out } = checkCentreLogits(args);
  for (let begin = 0; begin < logits.length; begin += classes) {
    let most = Number.NEGATIVE_INFINITY;
    for (let j = 0; j < classes; j++) most = Math.max(most, logits[begin + j]);
    const least = most - depth;
    let sum = 0;
    for (let j = 0; j < classes; j++) sum += Math.max(logits[begin + j], least);
    const centre = sum / classes;
    for (let j = 0; j < classes; j++) {
      out[begin + j] = Math.max(logits[begin + j], least) - centre - (mean?.[j] ?? 0);
    }
  }
}

export function quantise(args: QuantiseArgs): void {
  const { values, unit, shifts, costs, trellis, out } = checkQuantise(args);
  const rank = shifts.length;
  const search = new TrellisSearch(rank, trellis);
  for (let begin = 0; begin < values.length; begin += rank) {
    search.start();
    for (let j = 0; j < rank; j++) {
      const value = Math.fround(values[begin + j] / unit);
      search.advance(j, value, shifts[j] / SHIFT_UNIT, costs);
    }
    search.trace(out, begin);
  }
}

export function dequantise(args: DequantiseArgs): void {
  const { indices, shifts, unit, trellis, out } = checkDequantise(args);
  const rank = shifts.length;
  const labels = indices.length / rank;
  const walk = trellis === 1 ? undefined : TRELLISES[trellis];
  const states = new Uint8Array(labels);
  for (let j = 0; j < rank; j++) {
    const shift = shifts[j] / SHIFT_UNIT;
    for (let i = 0; i < labels; i++) {
      const index = indices[j * labels + i];
      const multiple = multipleOf(index, walk?.context[states[i]] ?? 0, trellis);
      if (walk !== undefined) states[i] = walk.next[2 * states[i] + (index & 1)];
      const moved = multiple > 0 ? multiple - shift : multiple < 0 ? multiple + shift : 0;
      out[i * rank + j] = moved * unit;
    }
  }
}

/** Indices of one component to choose from: the best of each quantiser and parity, at 2 * context + parity. */
class Choices {
  readonly costs = new Float64Array(4);
  readonly indices = new Int16Array(4);

  /** Offers the indices that may be best for `value`, a size in units; `sign` is that of the index. */
  collect(value: number, sign: number, shift: number, costs: Float64Array, first: number): void {
    this.costs.fill(Number.POSITIVE_INFINITY);
    for (let context = 0; context < 2; context++) {
      // Multiples are 2 k - context: the one below the value, its neighbours and zero.
      const below = Math.floor((value + shift + context) / 2);
      const zero = first + context * RANS_SYMBOLS + 128;
      this.#offer(2 * context, 0, value * value + costs[zero]);
      for (let k = Math.max(1, below - 1); k <= below + 1; k++) {
        const error = value - (2 * k - context - shift);
        const cost = costs[k < 128 ? zero + sign * k : zero - 128];
        this.#offer(2 * context + (k & 1), k, error * error + cost);
      }
    }
  }

  #offer(subset: number, index: number, cost: number): void {
    if (cost >= this.costs[subset]) return;
    this.costs[subset] = cost;
    this.indices[subset] = index;
  }
}

/** Per component: the best index of each quantiser and parity, then two ways into each state. */
class TrellisSearch {
  readonly #rank: number;
  readonly #states: number;
  readonly #next: Uint8Array;
  readonly #context: Uint8Array;
  /** [rank, states]: the index on the best way into a state, and the state that it comes from. */
  readonly #indices: Int16Array;
  readonly #origins: Uint8Array;
  readonly #choices = new Choices();
  #costs: Float64Array;
  #spare: Float64Array;

  constructor(rank: number, trellis: 4 | 8) {
    const { next, context } = TRELLISES[trellis];
    this.#rank = rank;
    this.#states = trellis;
    this.#next = next;
    this.#context = context;
    this.#indices = new Int16Array(rank * trellis);
    this.#origins = new Uint8Array(rank * trellis);
    this.#costs = new Float64Array(trellis);
    this.#spare = new Float64Array(trellis);
  }

  start(): void {
    this.#costs.fill(Number.POSITIVE_INFINITY);
    this.#costs[0] = 0;
  }

  advance(component: number, value: number, shift: number, costs: Float64Array): void {
    const sign = value < 0 ? -1 : 1;
    const size = Math.abs(value);
    const bounded = size < MOST_UNITS ? size : MOST_UNITS;
    this.#choices.collect(bounded, sign, shift, costs, 2 * component * RANS_SYMBOLS);
    const at = component * this.#states;
    const [from, to] = [this.#costs, this.#spare];
    to.fill(Number.POSITIVE_INFINITY);
    for (let state = 0; state < this.#states; state++) {
      for (let parity = 0; parity < 2; parity++) {
        const subset = 2 * this.#context[state] + parity;
        const cost = from[state] + this.#choices.costs[subset];
        const next = this.#next[2 * state + parity];
        if (cost >= to[next]) continue;
        to[next] = cost;
        this.#indices[at + next] = sign * this.#choices.indices[subset];
        this.#origins[at + next] = state;
      }
    }
    this.#costs = to;
    this.#spare = from;
  }

  /** Writes the indices on the best way. */
  trace(out: Int16Array, begin: number): void {
    let state = 0;
    for (let i = 1; i < this.#states; i++) if (this.#costs[i] < this.#costs[state]) state = i;
    for (let j = this.#rank - 1; j >= 0; j--) {
      const at = j * this.#states + state;
      out[begin + j] = this.#indices[at];
      state = this.#origins[at];
    }
  }
}
