import { invalidFile } from '../../errors.js';
import type { SparseRows } from '../../tokens/token-source.js';

/** Rounding of float16 and of sums may put a log-probability this far above 0. */
const ABOVE_ZERO = 0.01;

/** Of a sum of exact values. */
const ROUNDING = 1e-6;

/** Collects the entries of labels and checks each: different ids of the vocabulary, and probabilities. */
export class SparseBuilder {
  readonly #file: string;
  readonly #vocabulary: number;
  readonly #offsets: number[] = [0];
  #ids = new Uint32Array(1024);
  #logProbs = new Float32Array(1024);
  #count = 0;
  /** Label that each id was last seen in, counted from 1. */
  readonly #seen = new Map<number, number>();

  constructor(file: string, vocabulary: number) {
    this.#file = file;
    this.#vocabulary = vocabulary;
  }

  get rows(): number {
    return this.#offsets.length - 1;
  }

  /** Adds an entry to the current label; one without any probability (-Infinity) is left out. */
  add(id: number, logProb: number): void {
    if (logProb === Number.NEGATIVE_INFINITY) return;
    const row = this.#offsets.length;
    if (!Number.isInteger(id) || id < 0 || id >= this.#vocabulary || this.#seen.get(id) === row) {
      throw invalidFile(this.#file, `label ${row - 1}`, 'wrong id', {
        expected: `different ids below ${this.#vocabulary}`,
        found: id,
      });
    }
    if (!(logProb <= ABOVE_ZERO)) {
      throw invalidFile(this.#file, `label ${row - 1}, id ${id}`, 'not a log-probability', {
        expected: 'at most 0',
        found: logProb,
      });
    }
    this.#seen.set(id, row);
    if (this.#count === this.#ids.length) this.#grow();
    this.#ids[this.#count] = id;
    this.#logProbs[this.#count] = Math.min(0, logProb);
    this.#count += 1;
  }

  /**
   * Ends the current label: its entries are put in order, the most probable first, of equal ones the lower id. If they
   * add up to more than 1, as values that were stored coarsely do, they are scaled down to it.
   */
  endRow(): void {
    const begin = this.#offsets[this.#offsets.length - 1];
    const ids = this.#ids.subarray(begin, this.#count);
    const logProbs = this.#logProbs.subarray(begin, this.#count);
    if (!isDescending(logProbs, ids)) sortEntries(ids, logProbs);
    const mass = logProbs.reduce((sum, value) => sum + Math.exp(value), 0);
    if (mass > 1 + ROUNDING) {
      const excess = Math.log(mass);
      for (let i = 0; i < logProbs.length; i++) logProbs[i] -= excess;
    }
    this.#offsets.push(this.#count);
  }

  finish(): SparseRows {
    return {
      kind: 'sparse',
      offsets: Uint32Array.from(this.#offsets),
      ids: this.#ids.slice(0, this.#count),
      logProbs: this.#logProbs.slice(0, this.#count),
    };
  }

  #grow(): void {
    const [ids, logProbs] = [this.#ids, this.#logProbs];
    this.#ids = new Uint32Array(2 * ids.length);
    this.#logProbs = new Float32Array(2 * ids.length);
    this.#ids.set(ids);
    this.#logProbs.set(logProbs);
  }
}

function isDescending(logProbs: Float32Array, ids: Uint32Array): boolean {
  for (let i = 1; i < ids.length; i++) {
    if (logProbs[i] > logProbs[i - 1]) return false;
    if (logProbs[i] === logProbs[i - 1] && ids[i] < ids[i - 1]) return false;
  }
  return true;
}

function sortEntries(ids: Uint32Array, logProbs: Float32Array): void {
  const entries = Array.from(ids, (id, i) => ({ id, logProb: logProbs[i] }));
  entries.sort((a, b) => b.logProb - a.logProb || a.id - b.id);
  for (const [i, { id, logProb }] of entries.entries()) {
    ids[i] = id;
    logProbs[i] = logProb;
  }
}
