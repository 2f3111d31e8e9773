import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import { TOKEN_LIMITS } from '../kernels/tokens.js';
import type { Kernels } from '../kernels/types.js';
import {
  defaultPreset,
  refusePredictor,
  TOKEN_PRESETS,
  type TokenCodecConfig,
  type TokenPreset,
} from './config.js';
import { type ListedRows, listRows } from './listed-rows.js';
import {
  type CountedSource,
  countSequences,
  requireText,
  type SequenceFailure,
  writeSequences,
} from './pack-sequences.js';
import { RememberedSource } from './remembered-source.js';
import { encodeSequence } from './sequence-block.js';
import { TOKEN_DECODING, type TokenCodec } from './token-codec.js';
import type { TokenSequence, TokenSource } from './token-source.js';
import { TRAINING_LABELS, trainTokenCodec } from './train-tokens.js';

/** A kind of label and what differs from it. */
export interface TokenCodecChoice
  extends Partial<Omit<TokenCodecConfig, 'vocabulary' | 'seed' | 'text'>> {
  /** Default: `sampled`, with `k` `head-tail`. */
  readonly name?: TokenPreset;
}

export interface PackTokensOptions {
  readonly source: TokenSource;
  /** Folder of the archive; an unfinished one of the same options is resumed. */
  readonly out: string;
  readonly codec?: TokenCodecChoice;
  /** Of the ids that are drawn from the tail, with the number of the sequence and the position. Default: 0. */
  readonly seed?: number;
  /** Identifies the teacher, as plain JSON. */
  readonly teacher?: object;
  /** Texts of a shard; default: as many as have about 2^18 labels. */
  readonly shardTexts?: number;
  readonly kernels?: Kernels;
  readonly onProgress?: (done: number, sequences: number) => void;
  readonly signal?: AbortSignal;
}

export interface PackTokensResult extends CountedSource {
  readonly out: string;
}

/**
 * Stores a teacher's labels of texts as an archive of one block per sequence. The source's sequences are needed three
 * times: to count, to learn from some that are spread over it, and to encode. Labels of a few ids that fit in 64 MiB are
 * gone through once, up to 32,768 labels of all ids twice, and others three times. The labels of each are read once, but
 * again for those learnt from if they exceed 64 MiB as stored; beyond what fits, one sequence's are in memory at a time.
 * Killed at any moment and started again it ends with the same bytes.
 */
export async function packTokens(options: PackTokensOptions): Promise<PackTokensResult> {
  const { source, out, codec: choice = {}, seed = 0, signal } = options;
  const kernels = options.kernels ?? loadKernels();
  const config = tokenConfig(choice, source.vocabulary, seed);
  const texts = RememberedSource.of(source, { dense: TRAINING_LABELS });
  const counted = await countTokens(texts, signal);
  const { codec, listed } = await trainTokenCodec(texts, counted, config, kernels, signal);
  const again = { ...options, source: texts.with(listed) };
  const encode = async (own: TokenSequence, sequence: number) => {
    const known = listed.get(sequence);
    listed.delete(sequence);
    return encodeTokens(own, sequence, codec, kernels, known);
  };
  await writeSequences(codec.parts(), TOKEN_DECODING, counted, again, encode);
  return { ...counted, out };
}

/** The block of a sequence. @param known what its labels list, if that was found before. */
export async function encodeTokens(
  own: TokenSequence,
  sequence: number,
  codec: TokenCodec,
  kernels: Kernels,
  known?: ListedRows,
): Promise<Uint8Array> {
  const { config } = codec;
  const rows = known ?? (await listRows(own, config.vocabulary, { ...config, sequence, kernels }));
  return encodeSequence(own, rows, codec);
}

/** Goes through a source once, and throws what is wrong with it. */
export function countTokens(source: TokenSource, signal?: AbortSignal): Promise<CountedSource> {
  const check = (sequence: TokenSequence) => requireSequence(sequence, source.vocabulary);
  return countSequences(source, check, signal);
}

/** What is given of a choice: `INVALID_ARGUMENT` for a number of draws with a kind that draws nothing. */
export function tokenCodecChoice({
  name,
  k,
  draws,
  tail,
}: Pick<TokenCodecChoice, 'name' | 'k' | 'tail'> & {
  /** Ids drawn per label. */
  readonly draws?: number;
}): TokenCodecChoice {
  if (draws !== undefined) {
    argument.count(draws, 'draws', 1, TOKEN_LIMITS.samples);
    const kind = name ?? defaultPreset(k);
    argument.oneOf(kind, 'codec', Object.keys(TOKEN_PRESETS));
    const drawn = TOKEN_PRESETS[kind].tail === 'sampled';
    argument.that(drawn, draws, 'draws', 'a codec that draws ids, as sampled and head-tail do');
  }
  return {
    ...(name && { name }),
    ...(k === undefined ? {} : { k }),
    ...(draws === undefined ? {} : { samples: draws }),
    ...(tail && { tail }),
  };
}

/** The kind's settings, as far as there are so many ids, and what differs from them. */
export function tokenConfig(
  choice: TokenCodecChoice,
  vocabulary: number,
  seed: number,
): TokenCodecConfig {
  const { name = defaultPreset(choice.k), ...changes } = choice;
  argument.oneOf(name, 'codec.name', Object.keys(TOKEN_PRESETS));
  refusePredictor(changes.tail, 'codec.tail');
  const preset = TOKEN_PRESETS[name];
  const k = changes.k ?? Math.min(preset.k, vocabulary);
  const ordered = changes.ordered ?? Math.min(preset.ordered, k);
  return { ...preset, ...changes, k, ordered, vocabulary, seed, text: 'coded' };
}

/** `INVALID_ARGUMENT` naming the sequence whose text and labels contradict each other. */
function requireSequence(sequence: TokenSequence, vocabulary: number): void {
  const { name, rows, labels } = sequence;
  const fail: SequenceFailure = (expected, found) => {
    const details = { field: name, expected, found };
    throw new SoftpackError('INVALID_ARGUMENT', 'not labels of a text', details);
  };
  requireText(sequence, vocabulary, fail);
  if (labels.kind !== 'sparse') {
    if (labels.width < vocabulary) fail(`at least ${vocabulary} columns`, labels.width);
    return;
  }
  const { offsets, ids, logProbs } = labels;
  const ends = offsets.length === rows + 1 && offsets[0] === 0 && offsets[rows] === ids.length;
  const ascending = offsets.every((offset, i) => i === 0 || offsets[i - 1] <= offset);
  if (!ends || !ascending || ids.length !== logProbs.length) {
    fail(`${rows + 1} ascending offsets into as many ids as values`, `${ids.length} ids`);
  }
  const beyond = labels.ids.find((id) => id >= vocabulary);
  if (beyond !== undefined) fail(`ids below ${vocabulary}`, beyond);
}
