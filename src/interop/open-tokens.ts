import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { argument } from '../core/check.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { onFile } from '../store/file-error.js';
import { localStore, openLocalFile, readHead } from '../store/local.js';
import type { TokenSource } from '../tokens/token-source.js';
import { namesIn } from './layouts/files.js';
import { readTokenArray } from './tokens/arrays.js';
import { readAxolotl } from './tokens/axolotl.js';
import { readDeepSpec } from './tokens/deepspec.js';
import { readDistillKit } from './tokens/distillkit.js';
import { readIntegerArray } from './tokens/integer-array.js';
import type { TokenLabelFile } from './tokens/label-file.js';
import { readLlamaBase } from './tokens/llama-base.js';
import { readMegatron } from './tokens/megatron.js';
import { readSglang } from './tokens/sglang.js';
import { type VllmHiddenOptions, vllmHiddenSequence } from './tokens/vllm-hidden.js';
import { readVllmLogprobs } from './tokens/vllm-logprobs.js';
import { type TextIds, withText } from './tokens/with-text.js';

export const TOKEN_LAYOUTS = [
  'llama',
  'vllm',
  'vllm-hidden',
  'sglang',
  'deepspec',
  'distillkit',
  'megatron',
  'axolotl',
  'logits',
  'hidden',
] as const;
export type TokenLayout = (typeof TOKEN_LAYOUTS)[number];

export interface OpenTokensOptions {
  /** File or folder of another tool. */
  readonly source: string;
  /** Default: told by names and contents; `logits` and `hidden` (own arrays) must be named. */
  readonly from?: TokenLayout;
  /**
   * Ids of the teacher's tokenizer, without what only pads its head. Required where files do not tell it: all but
   * llama.cpp's, DistillKit's and logits.
   */
  readonly vocabulary?: number;
  /** vLLM: `prompt_logprobs` of the requests. */
  readonly k?: number;
  /** vLLM's hidden states: which of the stored layers, from 0; default: the last. */
  readonly layer?: number;
  /** axolotl: column of the log-probabilities; default: `logprobs`. */
  readonly column?: string;
  /** Own arrays: which one of a file that holds several. */
  readonly tensor?: string;
  /** Ids of the texts, a .npy, .npz or .safetensors file of integers, for layouts that do not store them. */
  readonly tokens?: string;
  /** Which array of that file, if it holds several. */
  readonly tokensTensor?: string;
  /** Tokens of every text, a file of integers, if own arrays or `tokens` hold one text after the other. */
  readonly lengths?: string;
  /** Which array of that file, if it holds several. */
  readonly lengthsTensor?: string;
}

/** Labels of tokens in files of another tool, for {@link packTokens}. */
export interface OpenedTokens extends TokenSource, AsyncDisposable {
  readonly layout: TokenLayout;
  /** Things a user must know: what was left out, or is not in the files. */
  readonly notes: readonly string[];
  close(): Promise<void>;
}

/**
 * Opens labels of tokens that another tool wrote. Files are read as they are asked for, a sequence at a time.
 *
 * @throws `INVALID_FILE` naming file and place for anything that its tool does not write, `TOOL_MISSING` if a package
 *   that reads it is not installed.
 */
export async function openTokenLabels(options: OpenTokensOptions): Promise<OpenedTokens> {
  const { source, vocabulary } = options;
  if (options.from !== undefined) argument.oneOf(options.from, 'from', TOKEN_LAYOUTS);
  if (vocabulary !== undefined) argument.count(vocabulary, 'vocabulary', 2, 2 ** 22);
  if (options.k !== undefined) argument.count(options.k, 'k', 1);
  const layout = options.from ?? (await detectTokens(source));
  const files: ByteFile[] = [];
  const close = async () => {
    for (const file of files.splice(0)) await file.close();
  };
  try {
    const openFile = async (path: string) => {
      const file = await openLocalFile(path);
      files.push(file);
      return file;
    };
    const integers = async (path: string | undefined, named: string | undefined, option: string) =>
      path === undefined ? undefined : readIntegerArray(await openFile(path), named, option);
    const ids = {
      tokens: await integers(options.tokens, options.tokensTensor, 'tokensTensor'),
      lengths: await integers(options.lengths, options.lengthsTensor, 'lengthsTensor'),
    };
    const labels = await openLayout(layout, options, ids, openFile);
    const own = layout === 'logits' || layout === 'hidden';
    const whole = own || ids.tokens === undefined ? labels : await withText(labels, ids);
    return { ...whole, layout, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openLayout(
  layout: TokenLayout,
  options: OpenTokensOptions,
  { tokens, lengths }: TextIds,
  openFile: (path: string) => Promise<ByteFile>,
): Promise<TokenLabelFile> {
  const { source, vocabulary, tensor } = options;
  const needed = () => requireIds(layout, vocabulary);
  switch (layout) {
    case 'llama':
      return readLlamaBase(await openFile(source), { vocabulary });
    case 'vllm':
      return readVllmLogprobs(await openFile(source), { vocabulary: needed(), k: options.k });
    case 'vllm-hidden':
      return hiddenFolder(source, { vocabulary: needed(), layer: options.layer });
    case 'sglang':
      return readSglang(await openFile(source), { vocabulary: needed() });
    case 'deepspec':
      return readDeepSpec(localStore(source), { vocabulary: needed() });
    case 'distillkit':
      return readDistillKit(localStore(source), { vocabulary });
    case 'megatron':
      return readMegatron(localStore(source), { vocabulary: needed() });
    case 'axolotl': {
      const { column } = options;
      return readAxolotl(await openFile(source), { vocabulary: needed(), column });
    }
    default:
      return readTokenArray(await openFile(source), {
        ...{ kind: layout, tensor, vocabulary },
        ...{ tokens, lengths },
      });
  }
}

function requireIds(layout: TokenLayout, vocabulary: number | undefined): number {
  if (vocabulary !== undefined) return vocabulary;
  throw new SoftpackError('INVALID_ARGUMENT', 'these files do not tell how many ids there are', {
    field: 'vocabulary',
    expected: `ids of the teacher's tokenizer, for ${layout}`,
  });
}

/** A folder of a file per request, in order of their names. */
async function hiddenFolder(folder: string, options: VllmHiddenOptions): Promise<TokenLabelFile> {
  const names = (await namesIn(folder)).filter((name) => name.endsWith('.safetensors')).sort();
  if (names.length === 0) {
    throw new SoftpackError('NOT_FOUND', 'files are missing', {
      field: folder,
      expected: 'a .safetensors file per text',
      found: 'none',
    });
  }
  return {
    vocabulary: options.vocabulary,
    notes: ['hidden states are those before the last norm, as vLLM stores them'],
    async *sequences(signal) {
      for (const name of names) {
        throwIfAborted(signal);
        const file = await openLocalFile(join(folder, name));
        try {
          yield await vllmHiddenSequence(file, options);
        } finally {
          await file.close();
        }
      }
    },
  };
}

/** The layout of a file or folder; `INVALID_ARGUMENT` if nothing tells it. */
async function detectTokens(source: string): Promise<TokenLayout> {
  const found = await onFile(source, () => stat(source));
  const layout = found.isDirectory()
    ? layoutOfFolder(await namesIn(source))
    : await layoutOfFile(source);
  if (layout !== undefined) return layout;
  throw new SoftpackError('INVALID_ARGUMENT', 'cannot tell the layout', {
    field: 'from',
    expected: TOKEN_LAYOUTS.join('|'),
    found: source,
  });
}

function layoutOfFolder(names: readonly string[]): TokenLayout | undefined {
  if (names.includes('compression_config.yaml')) return 'distillkit';
  if (names.includes('samples.idx')) return 'deepspec';
  if (names.some((name) => /^(?:cp0_)?dp\d+__.*\.tar$/.test(name))) return 'megatron';
  return names.some((name) => name.endsWith('.safetensors')) ? 'vllm-hidden' : undefined;
}

/** Bytes of the first line that are looked at: the text of a prompt may come before its labels. */
const HEAD_BYTES = 2 ** 16;

async function layoutOfFile(path: string): Promise<TokenLayout | undefined> {
  const head = Buffer.from(await readHead(path, HEAD_BYTES)).toString('latin1');
  if (head.startsWith('_logits_')) return 'llama';
  if (head.startsWith('PAR1')) return 'axolotl';
  // Editors on Windows begin a text with a mark of its byte order.
  if (!/^(?:\xef\xbb\xbf)?\s*[[{]/.test(head)) return undefined;
  if (head.includes('"prompt_logprobs"')) return 'vllm';
  if (head.includes('"choices"') && head.includes('"token_id:')) return 'vllm';
  if (/"(?:in|out)put_(?:token|top)_logprobs/.test(head)) return 'sglang';
  return /"(?:target_)?logprobs"/.test(head) ? 'axolotl' : undefined;
}
