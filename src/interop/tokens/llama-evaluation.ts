import { allocate } from '../../core/allocate.js';
import { SoftpackError, throwIfAborted } from '../../errors.js';

/** What is used of a context's sequence of node-llama-cpp. */
export interface LlamaSequence {
  clearHistory(): Promise<void>;
  /** Per token, the probability of every id behind it. */
  controlledEvaluate(
    input: readonly (readonly [token: number, options: object])[],
  ): Promise<readonly ({ readonly next?: LlamaNext } | undefined)[]>;
}

interface LlamaNext {
  readonly probabilities?: ReadonlyMap<number, number>;
}

const ALL = { generateNext: { probabilities: true } } as const;

/** One state of the model, which goes on where the last piece of a text ended. */
export class Evaluation {
  readonly #sequence: LlamaSequence;
  #text: Int32Array | undefined;
  #position = 0;

  constructor(sequence: LlamaSequence) {
    this.#sequence = sequence;
  }

  async vocabulary(token: number): Promise<number> {
    const [probabilities] = await this.#evaluate(Int32Array.of(token));
    return probabilities.size;
  }

  /** Log-probabilities behind `count` tokens from `start` on. */
  async labels(
    text: Int32Array,
    start: number,
    count: number,
    vocabulary: number,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    if (this.#text !== text || this.#position > start) {
      await this.#sequence.clearHistory();
      this.#text = text;
      this.#position = 0;
    }
    const out = new Float32Array(allocate(4 * count * vocabulary, 'labels'));
    out.fill(Number.NEGATIVE_INFINITY);
    // A token at a time: a piece of a text must not change the labels of another.
    while (this.#position < start + count) {
      throwIfAborted(signal);
      const at = this.#position;
      const [probabilities] = await this.#evaluate(text.subarray(at, at + 1));
      this.#position += 1;
      if (at < start) continue;
      const row = out.subarray((at - start) * vocabulary, (at - start + 1) * vocabulary);
      for (const [id, probability] of probabilities) row[id] = Math.log(probability);
    }
    return out;
  }

  async #evaluate(tokens: Int32Array): Promise<readonly ReadonlyMap<number, number>[]> {
    const input = Array.from(tokens, (token) => [token, ALL] as const);
    const results = await this.#sequence.controlledEvaluate(input);
    return results.map((result) => {
      const probabilities = result?.next?.probabilities;
      if (probabilities !== undefined) return probabilities;
      throw new SoftpackError('NATIVE_FAILED', 'llama.cpp gave no probabilities', {
        field: 'node-llama-cpp',
      });
    });
  }
}
