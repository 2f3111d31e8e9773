import { allocate } from '../../core/allocate.js';
import { argument } from '../../core/check.js';
import { optionalPackage } from '../../core/optional-package.js';
import { errorMessage, SoftpackError, throwIfAborted } from '../../errors.js';
import type { TokenSource } from '../../tokens/token-source.js';

/** What is used of node-llama-cpp. */
export interface LlamaPackage {
  getLlama(options: object): Promise<Llama>;
}

interface Llama {
  loadModel(options: object): Promise<LlamaModel>;
  dispose(): Promise<void>;
}

export interface LlamaModel {
  readonly trainContextSize: number;
  readonly tokens: { readonly bos: number | null; readonly shouldPrependBosToken: boolean };
  tokenize(text: string, specialTokens?: boolean): readonly number[];
  createContext(options: object): Promise<LlamaContext>;
}

interface LlamaContext {
  getSequence(): LlamaSequence;
}

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

/** A model on the processor, and one state of it. */
export interface LoadedLlama {
  readonly model: LlamaModel;
  readonly sequence: LlamaSequence;
  /** Most tokens of a text. */
  readonly contextSize: number;
  close(): Promise<void>;
}

/** A text whose beginning is given: only what follows it is labelled. */
export interface PromptedText {
  readonly prompt: string;
  /** Its tokens come behind the prompt's: each is tokenised on its own. */
  readonly answer: string;
}

export interface LlamaTeacherOptions {
  /** File of the model (GGUF). */
  readonly model: string;
  readonly texts: readonly (string | PromptedText)[];
  /** Most tokens of a text; default: 2,048, or what the model was trained for. Longer ones are refused. */
  readonly contextSize?: number;
  /** Default: 1; more help where nothing else runs. */
  readonly threads?: number;
}

/** A language model that labels texts. */
export interface LlamaTeacher extends TokenSource, AsyncDisposable {
  close(): Promise<void>;
}

const PACKAGE = 'node-llama-cpp';
const CONTEXT = 2048;
const ALL = { generateNext: { probabilities: true } } as const;

/**
 * Loads a GGUF model.
 *
 * @throws `TOOL_MISSING` saying what to type if node-llama-cpp is not installed.
 */
export async function loadLlama(
  options: Omit<LlamaTeacherOptions, 'texts'>,
  load: () => Promise<unknown> = () => optionalPackage(PACKAGE, 'GGUF models'),
): Promise<LoadedLlama> {
  const { model: modelPath, threads = 1 } = options;
  argument.count(threads, 'threads', 1, 1024);
  const { getLlama } = (await load()) as LlamaPackage;
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    logLevel: 'error',
    maxThreads: threads,
  });
  try {
    const model = await llama.loadModel({ modelPath, gpuLayers: 0 }).catch((cause: unknown) => {
      const details = { field: modelPath, found: errorMessage(cause), cause };
      throw new SoftpackError('INVALID_FILE', 'llama.cpp cannot load the model', details);
    });
    const contextSize = options.contextSize ?? Math.min(CONTEXT, model.trainContextSize);
    argument.count(contextSize, 'contextSize', 2, model.trainContextSize);
    const context = await model.createContext({ contextSize, sequences: 1, threads });
    const close = () => llama.dispose();
    return { model, sequence: context.getSequence(), contextSize, close };
  } catch (error) {
    await llama.dispose();
    throw error;
  }
}

/**
 * Opens a GGUF model as a teacher of texts, on the processor; texts are evaluated when their labels are asked for, a piece
 * at a time. Equal texts give equal labels on one machine with one version of the package.
 *
 * @throws `TOOL_MISSING` saying what to type if node-llama-cpp is not installed.
 */
export async function openLlamaTeacher(
  options: LlamaTeacherOptions,
  load?: () => Promise<unknown>,
): Promise<LlamaTeacher> {
  const { model, sequence, contextSize, close } = await loadLlama(options, load);
  try {
    const evaluation = new Evaluation(sequence);
    const ids = options.texts.map((text, i) => idsOf(model, text, i, contextSize));
    const vocabulary = await evaluation.vocabulary(ids[0].tokens[0]);
    return {
      vocabulary,
      async *sequences(signal) {
        for (const [i, { tokens, first }] of ids.entries()) {
          throwIfAborted(signal);
          const name = `text ${i}`;
          const read = (start: number, count: number) =>
            evaluation.labels(tokens, first + start, count, vocabulary, signal);
          const labels = { kind: 'logits', width: vocabulary, read } as const;
          // What follows the last token is not in the text, but the teacher's opinion of it is a label.
          yield { name, tokens, first, rows: tokens.length - first, labels };
        }
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

interface TextIds {
  readonly tokens: Int32Array;
  /** Position of the first label, which is of the token behind it: the last one of the prompt. */
  readonly first: number;
}

function idsOf(model: LlamaModel, text: string | PromptedText, i: number, most: number): TextIds {
  const { bos, shouldPrependBosToken } = model.tokens;
  const { prompt, answer } = typeof text === 'string' ? { prompt: '', answer: text } : text;
  const asked = prompt === '' ? [] : model.tokenize(prompt);
  const ids = [...asked, ...model.tokenize(answer)];
  const begin = shouldPrependBosToken && bos !== null && ids[0] !== bos ? [bos] : [];
  const tokens = Int32Array.from([...begin, ...ids]);
  const first = asked.length === 0 ? 0 : begin.length + asked.length - 1;
  if (tokens.length >= 1 && tokens.length <= most) return { tokens, first };
  throw new SoftpackError('INVALID_ARGUMENT', 'text does not fit the context', {
    field: `text ${i}`,
    expected: `1 to ${most} tokens`,
    found: tokens.length,
  });
}

/** One state of the model, which goes on where the last piece of a text ended. */
class Evaluation {
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
    signal: AbortSignal | undefined,
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
        field: PACKAGE,
      });
    });
  }
}
