import { resolve } from 'node:path';
import { argument } from '../core/check.js';
import { isJsonObject, parseJson } from '../core/json.js';
import { decodeText } from '../core/text.js';
import { invalidFile } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import { readLocalFile } from '../store/local.js';
import type { TokenPreset } from '../tokens/config.js';
import { logitsOfStates } from '../tokens/hidden/head-logits.js';
import { packHidden } from '../tokens/hidden/pack-hidden.js';
import {
  type PackTokensResult,
  packTokens,
  type TokenCodecChoice,
  tokenCodecChoice,
} from '../tokens/pack-tokens.js';
import type { HiddenOptions } from './tokens/llama-head.js';
import {
  type LlamaTeacherOptions,
  openLlamaTeacher,
  type PromptedText,
} from './tokens/llama-teacher.js';

export interface LabelTextsOptions
  extends Omit<LlamaTeacherOptions, 'texts' | 'hidden'>,
    HiddenOptions {
  /**
   * File of a text per line, or of JSON lines with `text`, or with `prompt` and `answer`, of which the answer is labelled;
   * without `answer` it is the teacher's own.
   */
  readonly source: string;
  /** Archive to write; labelling that was interrupted is resumed. */
  readonly out: string;
  /**
   * Default: `sampled`, with `top` `head-tail`. `hidden`: hidden states. With `head` labels of the other kinds are listed and drawn from
   * the logits that it makes of hidden states, which takes less time than asking for probabilities.
   */
  readonly codec?: TokenPreset | 'hidden';
  /** Hidden states: mean KL that is aimed at. Default: 0.005. */
  readonly kl?: number;
  /** Hidden states: most ids of a label whose logits are corrected. Default: 16; 0 for none. */
  readonly exact?: number;
  /** Stores the output matrix in the archive. Default: only its sha256. */
  readonly storeHead?: boolean;
  /** Ids kept per label; default: the codec's. */
  readonly top?: number;
  /** Ids drawn per label, by codecs that draw any; default: the codec's. */
  readonly draws?: number;
  /** Texts of a shard of the archive; default: as many as have about 2^18 labels. */
  readonly shardTexts?: number;
  /** Texts labelled, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Bytes of a file of texts. */
export const MAX_TEXT = 2 ** 29;

/**
 * Labels texts with a GGUF model and stores the labels as an archive. Killed at any moment and started again, on the same
 * machine, it ends with the same bytes.
 *
 * @param load gives node-llama-cpp; default: the installed package.
 */
export async function labelTexts(
  options: LabelTextsOptions,
  load?: () => Promise<unknown>,
): Promise<PackTokensResult> {
  const { source, out, shardTexts, seed, onProgress, signal } = options;
  const { codec, head, headTensor, kl, exact, storeHead } = options;
  requireUsed(options);
  const byStates = codec === 'hidden' || head !== undefined;
  const hidden = byStates ? { head, headTensor } : undefined;
  const texts = textsOf(source, await readLocalFile(source, MAX_TEXT));
  // Beside the archive, also if its name ends in a separator.
  const answers = options.answers ?? `${resolve(out)}.answers.jsonl`;
  await using teacher = await openLlamaTeacher({ ...options, texts, answers, hidden }, load);
  const shared = { out, shardTexts, onProgress, signal, teacher: { model: options.model } };
  if (codec === 'hidden' && teacher.head !== undefined) {
    return await packHidden({
      ...shared,
      source: teacher,
      head: teacher.head,
      kl,
      exact,
      storeHead,
    });
  }
  const logits =
    teacher.head === undefined ? teacher : logitsOfStates(teacher, teacher.head, loadKernels());
  return await packTokens({ ...shared, source: logits, seed, codec: codecChoice(options) });
}

/** That no option is of another codec. */
function requireUsed({ codec, top, draws, ...options }: LabelTextsOptions): void {
  if (codec === 'hidden') {
    argument.that(top === undefined, top, 'top', 'a codec that lists ids');
    argument.that(draws === undefined, draws, 'draws', 'a codec that draws ids');
    return;
  }
  const { head, headTensor, kl, exact, storeHead } = options;
  const given = Object.entries({ kl, exact, storeHead });
  const [name, value] = given.find(([, own]) => own !== undefined) ?? [];
  argument.that(name === undefined, value, name ?? '', 'codec hidden');
  argument.that(head !== undefined || headTensor === undefined, headTensor, 'headTensor', 'a head');
}

export function codecChoice({
  codec: name,
  top,
  draws,
}: Pick<LabelTextsOptions, 'codec' | 'top' | 'draws'>): TokenCodecChoice {
  if (name === 'hidden') throw new TypeError('hidden states are packed by packHidden');
  return tokenCodecChoice({ name, k: top, draws });
}

/** Texts of a file, a line each. */
export function textsOf(file: string, bytes: Uint8Array): readonly (string | PromptedText)[] {
  const lines = decodeText(file, 'content', bytes).split(/\r?\n/);
  const texts = lines.flatMap((line, i) => {
    if (line.trim() === '') return [];
    return line.startsWith('{') ? textOf(file, `line ${i + 1}`, line) : line;
  });
  if (texts.length > 0) return texts;
  throw invalidFile(file, 'content', 'no texts', { expected: 'a text per line' });
}

function textOf(file: string, field: string, line: string): string | PromptedText {
  const value = parseJson(file, field, Buffer.from(line));
  if (isJsonObject(value)) {
    const { text, prompt, answer } = value;
    if (isText(text) && prompt === undefined && answer === undefined) return text;
    const known = answer === undefined || isText(answer);
    if (isText(prompt) && known && text === undefined) return { prompt, answer };
  }
  const expected = '{"text": "..."} or {"prompt": "...", "answer": "..."}';
  throw invalidFile(file, field, 'no text', { expected, found: value });
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
