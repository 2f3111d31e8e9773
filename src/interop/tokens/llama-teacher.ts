import { argument } from '../../core/check.js';
import { optionalPackage } from '../../core/optional-package.js';
import { errorMessage, isSoftpackError, SoftpackError, throwIfAborted } from '../../errors.js';
import { fileError } from '../../store/file-error.js';
import type { OutputHead } from '../../tokens/hidden/output-head.js';
import type { DenseRows, TokenSource } from '../../tokens/token-source.js';
import { type AnswerOptions, drawAnswers, type TokenisedText } from './llama-answers.js';
import { Evaluation, type LastState, type LlamaSequence } from './llama-evaluation.js';
import { type HiddenOptions, openLlamaHead } from './llama-head.js';

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
  isEogToken(token: number): boolean;
  createContext(options: object): Promise<LlamaContext>;
}

interface LlamaContext {
  getSequence(): LlamaSequence;
  dispose(): Promise<void>;
  /** What contexts of vectors of texts read them by; not part of what the package promises. */
  readonly _ctx?: { getEmbedding?(tokens: number): Float64Array };
}

/** A model on the processor, and one state of it. */
export interface LoadedLlama {
  readonly model: LlamaModel;
  readonly sequence: LlamaSequence;
  /** Most tokens of a text. */
  readonly contextSize: number;
  /** Present if hidden states were asked for. */
  readonly lastState?: LastState;
  close(): Promise<void>;
}

/** A text whose beginning is given: only what follows it is labelled. */
export interface PromptedText {
  readonly prompt: string;
  /**
   * Its tokens come behind the prompt's: each is tokenised on its own. Default: the teacher's own answer, drawn at
   * temperature 1.
   */
  readonly answer?: string;
}

export interface LlamaTeacherOptions extends AnswerOptions {
  /** File of the model (GGUF). */
  readonly model: string;
  readonly texts: readonly (string | PromptedText)[];
  /** Most tokens of a text; default: 2,048, or what the model was trained for. Longer ones are refused. */
  readonly contextSize?: number;
  /** Default: 1; more help where nothing else runs. */
  readonly threads?: number;
  /** Labels are hidden states behind the last norm, for this output matrix. Default: logits. */
  readonly hidden?: HiddenOptions;
}

/** A language model that labels texts. */
export interface LlamaTeacher extends TokenSource, AsyncDisposable {
  /** Present if labels are hidden states. */
  readonly head?: OutputHead;
  close(): Promise<void>;
}

const PACKAGE = 'node-llama-cpp';
const CONTEXT = 2048;

/**
 * Loads a GGUF model.
 *
 * @throws `TOOL_MISSING` saying what to type if node-llama-cpp is not installed; `NOT_FOUND` without the model; `UNSUPPORTED`
 *   if hidden states are asked for and its version gives none.
 */
export async function loadLlama(
  options: Omit<LlamaTeacherOptions, 'texts'>,
  load: () => Promise<unknown> = () => optionalPackage(PACKAGE, 'GGUF models'),
): Promise<LoadedLlama> {
  const { model: modelPath, threads = 1, hidden } = options;
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
      const known = fileError(modelPath, cause);
      if (isSoftpackError(known)) throw known;
      const details = { field: modelPath, found: errorMessage(cause), cause };
      throw new SoftpackError('INVALID_FILE', 'llama.cpp cannot load the model', details);
    });
    const contextSize = options.contextSize ?? Math.min(CONTEXT, model.trainContextSize);
    argument.count(contextSize, 'contextSize', 2, model.trainContextSize);
    const states = hidden === undefined ? {} : { _embeddings: true };
    const context = await model.createContext({ contextSize, sequences: 1, threads, ...states });
    // Disposing of llama.cpp waits for ever for a context that is being collected as garbage: it is held until then.
    const close = async () => {
      await context.dispose();
      await llama.dispose();
    };
    const lastState = hidden === undefined ? undefined : lastStateOf(context);
    if (hidden !== undefined && lastState === undefined) {
      await context.dispose();
      throw noStates();
    }
    return { model, sequence: context.getSequence(), contextSize, lastState, close };
  } catch (error) {
    await llama.dispose();
    throw error;
  }
}

/** node-llama-cpp reads vectors of whole texts by it; of a text's last token it is the state behind the last norm. */
function lastStateOf({ _ctx }: LlamaContext): LastState | undefined {
  const give = _ctx?.getEmbedding?.bind(_ctx);
  return give && (() => give(1));
}

function noStates(): SoftpackError {
  return new SoftpackError('UNSUPPORTED', 'this version of node-llama-cpp gives no hidden states', {
    field: PACKAGE,
    expected: 'version 3.22, or hidden states in files and softpack tokens import',
    found: 'a context without them',
  });
}

/**
 * Opens a GGUF model as a teacher of texts, on the processor; texts are evaluated when their labels are asked for, a piece
 * at a time. Equal texts give equal labels on one machine with one version of the package.
 *
 * @throws As {@link loadLlama}; `UNSUPPORTED` if hidden states and output matrix do not give the model's logits.
 */
export async function openLlamaTeacher(
  options: LlamaTeacherOptions,
  load?: () => Promise<unknown>,
): Promise<LlamaTeacher> {
  const { model, sequence, contextSize, lastState, close } = await loadLlama(options, load);
  try {
    const evaluation = new Evaluation(sequence);
    const given = options.texts.map((text, i) => idsOf(model, text, i, contextSize));
    const vocabulary = await evaluation.vocabulary(given[0].tokens[0]);
    const states =
      lastState === undefined
        ? undefined
        : await openLlamaHead(options, evaluation, lastState, given[0].tokens, vocabulary);
    const asked = { model: options.model, vocabulary, contextSize, texts: given };
    const isEnd = (token: number) => model.isEogToken(token);
    const ids = await drawAnswers(asked, evaluation, isEnd, options);
    return {
      ...{ vocabulary, head: states?.head },
      async *sequences(signal) {
        for (const [i, { tokens, first, open }] of ids.entries()) {
          throwIfAborted(signal);
          const name = `text ${i}`;
          const labels: DenseRows = states?.labels(tokens, first, signal) ?? {
            ...{ kind: 'logits', width: vocabulary },
            read: (start, count) =>
              evaluation.labels(tokens, first + start, count, vocabulary, signal),
          };
          // What follows the last token is not in the text, but the teacher's opinion of it is a label; behind its own answer
          // it has none.
          const rows = tokens.length - first - (open ? 1 : 0);
          yield { name, tokens, first, rows, labels };
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

function idsOf(
  model: LlamaModel,
  text: string | PromptedText,
  i: number,
  most: number,
): TokenisedText {
  const { bos, shouldPrependBosToken } = model.tokens;
  const { prompt, answer } = typeof text === 'string' ? { prompt: '', answer: text } : text;
  // A prompt is the caller's template, whose special tokens are meant; a text that spells one has its letters.
  const asked = prompt === '' ? [] : model.tokenize(prompt, true);
  const ids = [...asked, ...(answer === undefined ? [] : model.tokenize(answer))];
  const begin = shouldPrependBosToken && bos !== null && ids[0] !== bos ? [bos] : [];
  const tokens = Int32Array.from([...begin, ...ids]);
  const first = asked.length === 0 ? 0 : begin.length + asked.length - 1;
  // An answer to draw has a token or more.
  const room = answer === undefined ? most - 1 : most;
  if (tokens.length >= 1 && tokens.length <= room) {
    return { tokens, first, open: answer === undefined };
  }
  throw new SoftpackError('INVALID_ARGUMENT', 'text does not fit the context', {
    field: `text ${i}`,
    expected: `1 to ${room} tokens`,
    found: tokens.length,
  });
}
