import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import {
  defaultPreset,
  refusePredictor,
  type StoredTail,
  type TokenPreset,
} from '../tokens/config.js';
import { logitsOfStates } from '../tokens/hidden/head-logits.js';
import { packHidden } from '../tokens/hidden/pack-hidden.js';
import { type PackTokensResult, packTokens, tokenCodecChoice } from '../tokens/pack-tokens.js';
import { RememberedSource } from '../tokens/remembered-source.js';
import type { TokenSource } from '../tokens/token-source.js';
import { TRAINING_LABELS } from '../tokens/train-tokens.js';
import { type ImportHiddenOptions, teacherStates } from './import-hidden.js';
import {
  type OpenedTokens,
  type OpenTokensOptions,
  openTokenLabels,
  type TokenLayout,
} from './open-tokens.js';

export interface ImportTokensOptions extends Omit<OpenTokensOptions, 'k'>, ImportHiddenOptions {
  /** Archive to write; an interrupted import is resumed. */
  readonly out: string;
  /**
   * Default: `sampled` for logits, `head-tail` with `top`, `topk` for labels of a few ids, which say nothing of the tail, `hidden` for hidden
   * states. Kinds that list ids take the logits that the output matrix makes of hidden states.
   */
  readonly codec?: TokenPreset | 'hidden';
  /** Ids kept per label; default: the codec's, for labels of a few ids as many as they have. */
  readonly top?: number;
  /** Ids drawn per label, by codecs that draw any; default: the codec's. */
  readonly draws?: number;
  /** What labels without samples say of unlisted ids; default: the codec's. `prior` needs logits. */
  readonly tail?: StoredTail;
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
  readonly codec: TokenPreset | 'hidden';
  readonly notes: readonly string[];
}

/** Stores labels of tokens that another tool wrote as an archive. */
export async function importTokens(options: ImportTokensOptions): Promise<ImportTokensResult> {
  const { out, codec, top, draws, tail, seed, promptLogprobs: k, onProgress, signal } = options;
  if (top !== undefined) argument.count(top, 'top', 1);
  refusePredictor(tail, 'tail');
  await using labels = await openTokenLabels({ ...options, k });
  const { layout, notes } = labels;
  const texts = RememberedSource.of(labels, { dense: TRAINING_LABELS });
  const most = await mostEntries(texts, signal);
  const ofTeacher = { imported: { layout } };
  if (most === 'hidden' && (codec ?? 'hidden') === 'hidden') {
    requireUnused({ top, draws, tail, seed }, 'labels of ids');
    const states = await teacherStates(labels, options);
    const { kl, exact, storeHead } = options;
    const how = { out, kl, exact, storeHead, onProgress, signal };
    const result = await packHidden({ ...states, ...how, teacher: ofTeacher });
    return { ...result, layout, codec: 'hidden', notes };
  }
  if (codec === 'hidden') throw noStates(layout);
  const source = most === 'hidden' ? await logitsOf(labels, options) : texts;
  if (most !== 'hidden') requireUnused(statesOnly(options), 'hidden states');
  const sparse = typeof most === 'number' ? most : undefined;
  const name = codec ?? (sparse === undefined ? defaultPreset(top) : 'topk');
  const kept = top ?? (name === 'topk' ? sparse : undefined);
  const result = await packTokens({
    ...{ source, out, seed, onProgress, signal },
    codec: tokenCodecChoice({ name, k: kept, draws, tail }),
    teacher: ofTeacher,
  });
  return { ...result, layout, codec: name, notes };
}

/** Hidden states as what labels of ids are listed from. */
async function logitsOf(labels: OpenedTokens, options: ImportTokensOptions): Promise<TokenSource> {
  const { kl, exact, storeHead } = options;
  requireUnused({ kl, exact, storeHead }, "the codec 'hidden'");
  const { source, head } = await teacherStates(labels, options);
  return logitsOfStates(source, head, loadKernels());
}

function statesOnly(options: ImportHiddenOptions): ImportHiddenOptions {
  const { head, headTensor, storeHead, norm, normTensor, normEps, kl, exact } = options;
  return { head, headTensor, storeHead, norm, normTensor, normEps, kl, exact };
}

/** `INVALID_ARGUMENT` for an option of labels of another kind. */
function requireUnused(given: object, kind: string): void {
  const [name, value] = Object.entries(given).find(([, own]) => own !== undefined) ?? [];
  argument.that(name === undefined, value, name ?? '', `${kind}, which these labels are not`);
}

/** Most entries of a label; undefined for labels of whole distributions. */
async function mostEntries(
  source: TokenSource,
  signal?: AbortSignal,
): Promise<number | 'hidden' | undefined> {
  let most = 0;
  for await (const { labels } of source.sequences(signal)) {
    if (labels.kind === 'hidden') return 'hidden';
    if (labels.kind !== 'sparse') return undefined;
    const { offsets } = labels;
    for (let row = 1; row < offsets.length; row++) {
      most = Math.max(most, offsets[row] - offsets[row - 1]);
    }
  }
  return Math.max(1, most);
}

function noStates(layout: TokenLayout): SoftpackError {
  return new SoftpackError('UNSUPPORTED', 'these labels are not hidden states', {
    field: 'codec',
    expected: 'a codec of probabilities',
    found: `hidden, for ${layout}`,
  });
}
