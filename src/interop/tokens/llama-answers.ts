import { createHash } from 'node:crypto';
import { appendFile, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectory } from '../../container/durable.js';
import { argument } from '../../core/check.js';
import { parseJson } from '../../core/json.js';
import { CounterRng, STREAM, unit } from '../../core/philox.js';
import { decodeText } from '../../core/text.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import { onFile } from '../../store/file-error.js';
import { readLocalFileIfAny } from '../../store/local.js';
import { drawIds } from '../../tokens/listed-rows.js';
import type { Evaluation } from './llama-evaluation.js';

/** Of answers that a teacher gives. */
export interface AnswerOptions {
  /** Most tokens of an answer; default: 256. One that reaches the context's end is cut there. */
  readonly answerTokens?: number;
  /** Of the draws, with the number of the text and the position. Default: 0. */
  readonly seed?: number;
  /**
   * File that keeps answers, a line of JSON each: drawing that was interrupted goes on behind them. Default: none.
   */
  readonly answers?: string;
  /** Answers drawn, of all. */
  readonly onAnswer?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface TokenisedText {
  readonly tokens: Int32Array;
  /** Position of the first label, which is of the token behind it: the last one of the prompt. */
  readonly first: number;
  /** Ends with a prompt that the teacher is to answer. */
  readonly open: boolean;
}

/** What answers depend on. */
export interface AskedTexts {
  readonly model: string;
  readonly vocabulary: number;
  readonly contextSize: number;
  readonly texts: readonly TokenisedText[];
}

const ANSWER_TOKENS = 256;
/** Bytes of a file of answers. */
const MAX_FILE = 2 ** 30;

/**
 * The texts with an answer behind every prompt that has none: drawn at temperature 1, a token at a time, until the model
 * ends it. Equal on one machine with one version of the package.
 */
export async function drawAnswers(
  { model, vocabulary, contextSize, texts }: AskedTexts,
  evaluation: Evaluation,
  isEnd: (token: number) => boolean,
  options: AnswerOptions,
): Promise<readonly TokenisedText[]> {
  const { answerTokens = ANSWER_TOKENS, seed = 0, answers, onAnswer, signal } = options;
  argument.count(answerTokens, 'answerTokens', 1, 2 ** 24);
  argument.count(seed, 'seed', 0);
  const total = texts.filter(({ open }) => open).length;
  if (total === 0) return texts;
  const hash = createHash('sha256');
  for (const { tokens } of texts) hash.update(Int32Array.of(tokens.length)).update(tokens);
  const run = { model, seed, answerTokens, contextSize, prompts: hash.digest('hex') };
  const kept = answers === undefined ? [] : await keptAnswers(answers, run, vocabulary);
  const rng = new CounterRng(seed);
  const all: TokenisedText[] = [];
  let done = 0;
  for (const [i, text] of texts.entries()) {
    throwIfAborted(signal);
    if (!text.open) {
      all.push(text);
      continue;
    }
    const draw = (logs: Float32Array, position: number) => {
      const [word] = rng.words(i, position, STREAM.answers, 0);
      return drawIds(Float64Array.from(logs, Math.exp), Float64Array.of(unit(word)), 0)[0];
    };
    const most = Math.min(answerTokens, contextSize - text.tokens.length);
    const drawn =
      kept[done] ?? (await drawAnswer(text.tokens, most, vocabulary, evaluation, isEnd, draw));
    if (drawn.length > most)
      throw otherAnswers(answers ?? '', `an answer of ${drawn.length} tokens`);
    if (answers !== undefined && kept[done] === undefined) {
      await onFile(answers, () => appendFile(answers, `${JSON.stringify(drawn)}\n`));
    }
    all.push({ ...text, tokens: Int32Array.from([...text.tokens, ...drawn]) });
    onAnswer?.(++done, total);
  }
  return all;
}

async function drawAnswer(
  prompt: Int32Array,
  most: number,
  vocabulary: number,
  evaluation: Evaluation,
  isEnd: (token: number) => boolean,
  draw: (logs: Float32Array, position: number) => number,
): Promise<readonly number[]> {
  // Filled from the left: what was evaluated is not evaluated again.
  const text = new Int32Array(prompt.length + most);
  text.set(prompt);
  for (let at = prompt.length; at < text.length; at++) {
    text[at] = draw(await evaluation.labels(text, at - 1, 1, vocabulary), at);
    if (isEnd(text[at])) return [...text.subarray(prompt.length, at + 1)];
  }
  return [...text.subarray(prompt.length)];
}

/** Answers of an earlier run, the first ones; a line that it did not finish is cut off. */
async function keptAnswers(
  file: string,
  run: object,
  vocabulary: number,
): Promise<readonly (readonly number[])[]> {
  const header = `${JSON.stringify({ answers: 1, ...run })}\n`;
  const bytes = (await readLocalFileIfAny(file, MAX_FILE)) ?? new Uint8Array();
  const whole = bytes.subarray(0, bytes.lastIndexOf(0x0a) + 1);
  if (whole.length < bytes.length) await onFile(file, () => truncate(file, whole.length));
  if (whole.length === 0) {
    await makeDirectory(dirname(file));
    await onFile(file, () => appendFile(file, header));
    return [];
  }
  const lines = decodeText(file, 'content', whole).split('\n').slice(0, -1);
  if (`${lines[0]}\n` !== header) throw otherAnswers(file, lines[0].slice(0, 200));
  return lines.slice(1).map((line, i) => {
    const ids = parseJson(file, `line ${i + 2}`, Buffer.from(line));
    const known = Array.isArray(ids) && ids.length > 0 && ids.every((id) => isId(id, vocabulary));
    if (known) return ids as readonly number[];
    const details = { expected: 'a list of ids', found: line.slice(0, 200) };
    throw invalidFile(file, `line ${i + 2}`, 'no answer', details);
  });
}

function isId(value: unknown, vocabulary: number): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < vocabulary;
}

function otherAnswers(file: string, found: string): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'file has the answers of another run', {
    field: file,
    expected: 'answers to the same prompts with the same options, or no file',
    found,
  });
}
