import { allocate } from '../../core/allocate.js';
import { argument } from '../../core/check.js';
import { SoftpackError, throwIfAborted } from '../../errors.js';

/** What is used of a context's sequence of node-llama-cpp. */
export interface LlamaSequence {
  clearHistory(): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>;
  /** Per token, the probability of every id behind it. */
  controlledEvaluate(
    input: readonly (readonly [token: number, options: object])[],
  ): Promise<readonly ({ readonly next?: LlamaNext } | undefined)[]>;
}

interface LlamaNext {
  readonly probabilities?: ReadonlyMap<number, number>;
}

/** Gives the hidden state behind the last norm of the token that was evaluated last. */
export type LastState = () => Float64Array;

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
    const out = new Float32Array(allocate(4 * count * vocabulary, 'labels'));
    out.fill(Number.NEGATIVE_INFINITY);
    await this.#goOn(text, start, count, signal, async (token, row) => {
      const [probabilities] = await this.#evaluate(token);
      if (row < 0) return;
      const own = out.subarray(row * vocabulary, (row + 1) * vocabulary);
      for (const [id, probability] of probabilities) own[id] = Math.log(probability);
    });
    return out;
  }

  /** Hidden states [count, width] of tokens from `start` on. */
  async states(
    text: Int32Array,
    start: number,
    count: number,
    width: number,
    last: LastState,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const out = new Float32Array(allocate(4 * count * width, 'labels'));
    await this.#goOn(text, start, count, signal, async (token, row) => {
      await this.#sequence.evaluateWithoutGeneratingNewTokens([...token]);
      if (row < 0) return;
      const state = last();
      argument.count(state.length, 'dimensions of a hidden state', width, width);
      out.set(state, row * width);
    });
    return out;
  }

  /** Evaluates a text up to token `start + count`; `step` gets the tokens with their rows, below 0 before `start`. */
  async #goOn(
    text: Int32Array,
    start: number,
    count: number,
    signal: AbortSignal | undefined,
    step: (token: Int32Array, row: number) => Promise<void>,
  ): Promise<void> {
    if (this.#text !== text || this.#position > start) {
      await this.#sequence.clearHistory();
      this.#text = text;
      this.#position = 0;
    }
    // A token at a time: a piece of a text must not change the labels of another.
    while (this.#position < start + count) {
      throwIfAborted(signal);
      const at = this.#position;
      await step(text.subarray(at, at + 1), at - start);
      this.#position += 1;
    }
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
