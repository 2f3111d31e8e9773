import { CounterRng, type Stream, unit } from './philox.js';

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

  /** `count` distinct integers below `bound`, in random order (partial Fisher-Yates). */
  distinct(count: number, bound: number): Uint32Array {
    const items = Uint32Array.from({ length: bound }, (_, i) => i);
    for (let i = 0; i < count; i++) {
      const j = i + this.below(bound - i);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items.slice(0, count);
  }
}
