import { RANS_SYMBOLS, TRELLISES, type Trellis } from '../../kernels/rans.js';
import { type QuantiserShape, type Rates, SHIFT_UNIT } from './quantiser.js';

/** Indices of one component to choose from: the best of each quantiser and parity, at 2 * context + parity. */
class Choices {
  readonly costs = new Float64Array(4);
  readonly indices = new Int16Array(4);

  /** Offers the indices that may be best for `value`, a size in units; `sign` is that of the index. */
  collect(
    value: number,
    sign: number,
    shift: number,
    rates: Rates,
    first: number,
    lambda: number,
  ): void {
    this.costs.fill(Number.POSITIVE_INFINITY);
    for (let context = 0; context < 2; context++) {
      // Multiples are 2 k - context: the one below the value, its neighbours and zero.
      const below = Math.floor((value + shift + context) / 2);
      const zero = first + context * RANS_SYMBOLS + 128;
      this.#offer(2 * context, 0, value * value + lambda * rates[zero]);
      for (let k = Math.max(1, below - 1); k <= below + 1; k++) {
        const error = value - (2 * k - context - shift);
        const rate = rates[k < 128 ? zero + sign * k : zero - 128];
        this.#offer(2 * context + (k & 1), k, error * error + lambda * rate);
      }
    }
  }

  #offer(subset: number, index: number, cost: number): void {
    if (cost >= this.costs[subset]) return;
    this.costs[subset] = cost;
    this.indices[subset] = index;
  }
}

/** Sizes of indices end here: larger values are far outside of what a table lists. */
const MOST_UNITS = 60000;

/**
 * The indices of labels that cost least: squared error in units plus `lambda` per bit, by Viterbi's algorithm along the
 * components of each label. Per component: the best index of each quantiser and parity, then two ways into each state.
 */
export class TrellisQuantiser {
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

  constructor({ rank, trellis }: QuantiserShape & { readonly trellis: Exclude<Trellis, 1> }) {
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

  /**
   * @param values [labels, rank], in units. @param rates [rank, 2, 256].
   * @param out [labels, rank].
   */
  quantise(
    values: Float32Array,
    shifts: Int8Array,
    rates: Rates,
    lambda: number,
    out: Int16Array,
  ): void {
    for (let begin = 0; begin < values.length; begin += this.#rank) {
      this.#costs.fill(Number.POSITIVE_INFINITY);
      this.#costs[0] = 0;
      for (let j = 0; j < this.#rank; j++) {
        const value = values[begin + j];
        const sign = value < 0 ? -1 : 1;
        const size = Math.min(Math.abs(value), MOST_UNITS);
        const first = 2 * j * RANS_SYMBOLS;
        this.#choices.collect(size, sign, shifts[j] / SHIFT_UNIT, rates, first, lambda);
        this.#advance(j * this.#states, sign);
      }
      this.#trace(out, begin);
    }
  }

  #advance(at: number, sign: number): void {
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

  #trace(out: Int16Array, begin: number): void {
    let state = 0;
    for (let i = 1; i < this.#states; i++) if (this.#costs[i] < this.#costs[state]) state = i;
    for (let j = this.#rank - 1; j >= 0; j--) {
      const at = j * this.#states + state;
      out[begin + j] = this.#indices[at];
      state = this.#origins[at];
    }
  }
}
