import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import type { TokenPreset } from '../tokens/config.js';
import { type PackTokensResult, packTokens } from '../tokens/pack-tokens.js';
import type { TokenSource } from '../tokens/token-source.js';
import { type OpenTokensOptions, openTokenLabels, type TokenLayout } from './open-tokens.js';

export interface ImportTokensOptions extends Omit<OpenTokensOptions, 'k'> {
  /** Archive to write; an interrupted import is resumed. */
  readonly out: string;
  /** Default: `head-tail` for logits, `topk` for labels of a few ids, which say nothing of the tail. */
  readonly codec?: TokenPreset;
  /** Ids kept per label; default: the codec's, for labels of a few ids as many as they have. */
  readonly top?: number;
  /** vLLM: `prompt_logprobs` of the requests. */
  readonly promptLogprobs?: number;
  /** Of ids drawn from the tail; default: 0. */
  readonly seed?: number;
  /** Texts written, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface ImportTokensResult extends PackTokensResult {
  readonly layout: TokenLayout;
  readonly codec: TokenPreset;
  readonly notes: readonly string[];
}

/** Stores labels of tokens that another tool wrote as an archive. */
export async function importTokens(options: ImportTokensOptions): Promise<ImportTokensResult> {
  const { out, codec, top, seed, promptLogprobs: k, onProgress, signal } = options;
  if (top !== undefined) argument.count(top, 'top', 1);
  await using labels = await openTokenLabels({ ...options, k });
  const most = await mostEntries(labels, signal);
  const name = codec ?? (most === undefined ? 'head-tail' : 'topk');
  const kept = top ?? (name === 'topk' ? most : undefined);
  const result = await packTokens({
    ...{ source: labels, out, seed, onProgress, signal },
    codec: { name, ...(kept === undefined ? {} : { k: kept }) },
    teacher: { imported: { layout: labels.layout } },
  });
  return { ...result, layout: labels.layout, codec: name, notes: labels.notes };
}

/** Most entries of a label; undefined for labels of whole distributions. */
async function mostEntries(source: TokenSource, signal?: AbortSignal): Promise<number | undefined> {
  let most = 0;
  for await (const { labels, name } of source.sequences(signal)) {
    if (labels.kind === 'hidden') throw hiddenStates(name);
    if (labels.kind !== 'sparse') return undefined;
    const { offsets } = labels;
    for (let row = 1; row < offsets.length; row++) {
      most = Math.max(most, offsets[row] - offsets[row - 1]);
    }
  }
  return Math.max(1, most);
}

function hiddenStates(field: string): SoftpackError {
  return new SoftpackError('UNSUPPORTED', 'no codec stores hidden states', {
    field,
    expected: 'logits, or labels of a few ids',
    found: 'hidden states',
  });
}
