import { CounterRng, type Stream, unit } from './philox.js';

/** An entry of a map takes up about this many times an element of an array. */
const SPARSE = 16;

/** A sequence of draws from one stream of a seed, for training: reproducible on any machine. */
export class RandomSequence {
  readonly #rng: CounterRng;
  readonly #stream: Stream;
  readonly #sequence: number;
  #draw = 0;
  #left = 0;
  #words = new Uint32Array(4);

  /** `sequence` distinguishes independent sequences of the same stream. */
  constructor(seed: number, stream: Stream, sequence = 0) {
    this.#rng = new CounterRng(seed);
    this.#stream = stream;
    this.#sequence = sequence;
  }

  word(): number {
    if (this.#left === 0) {
      this.#words.set(this.#rng.words(this.#draw++, this.#sequence, this.#stream, 0));
      this.#left = 4;
    }
    return this.#words[4 - this.#left--];
  }

  /** Words drawn so far. */
  get drawn(): number {
    return 4 * this.#draw - this.#left;
  }

  /** Continues as a sequence that has drawn so many words. */
  skipTo(words: number): void {
    this.#draw = Math.floor(words / 4);
    this.#left = 0;
    for (let i = words % 4; i > 0; i--) this.word();
  }

  /** Uniform on [0, 1). */
  uniform(): number {
    return unit(this.word());
  }

  /** Uniform integer in [0, bound). */
  below(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Standard normal, by Box and Muller. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /**
   * `count` distinct integers below `bound`, in random order (partial Fisher-Yates). A smaller `count` gives the start
   * of the same list; memory grows with `count` alone if it is a small part of `bound`.
   */
  distinct(count: number, bound: number): Uint32Array {
    if (count < bound / SPARSE) return this.#sparselyDistinct(count, bound);
    const items = Uint32Array.from({ length: bound }, (_, i) => i);
    for (let i = 0; i < count; i++) {
      const j = i + this.below(bound - i);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items.slice(0, count);
  }

  /** The same list, keeping only items that are not in their own place. */
  #sparselyDistinct(count: number, bound: number): Uint32Array {
    const moved = new Map<number, number>();
    return Uint32Array.from({ length: count }, (_, i) => {
      const j = i + this.below(bound - i);
      const chosen = moved.get(j) ?? j;
      moved.set(j, moved.get(i) ?? i);
      moved.delete(i);
      return chosen;
    });
  }
}
