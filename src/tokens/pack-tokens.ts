import { createArchive } from '../archive/create.js';
import type { ArchiveSpec } from '../archive/spec.js';
import { joinBlocks } from '../core/blocks.js';
import { argument } from '../core/check.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { Kernels } from '../kernels/types.js';
import { TOKEN_PRESETS, type TokenCodecConfig, type TokenPreset } from './config.js';
import { listRows } from './listed-rows.js';
import { encodeSequence } from './sequence-block.js';
import { TOKEN_DECODING, type TokenCodec } from './token-codec.js';
import type { TokenSequence, TokenSource } from './token-source.js';
import {
  type CountedSource,
  changed,
  type TrainedTokenCodec,
  trainTokenCodec,
} from './train-tokens.js';

/** A kind of label and what differs from it. */
export interface TokenCodecChoice extends Partial<Omit<TokenCodecConfig, 'vocabulary' | 'seed'>> {
  /** Default: `head-tail`. */
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
  readonly kernels?: Kernels;
  readonly onProgress?: (done: number, sequences: number) => void;
  readonly signal?: AbortSignal;
}

export interface PackTokensResult extends CountedSource {
  readonly out: string;
}

/** Bytes of a piece of sequences that are written together, at least. */
const PIECE_BYTES = 2 ** 20;

/**
 * Stores a teacher's labels of texts as an archive of one block per sequence. The source's sequences are listed three
 * times: to count, to learn from some that are spread over it, and to encode. The labels of each are read once, but again
 * for those learnt from if they exceed 64 MiB as stored; one sequence's are in memory at a time. Killed at any moment and
 * started again it ends with the same bytes.
 */
export async function packTokens(options: PackTokensOptions): Promise<PackTokensResult> {
  const { source, out, codec: choice = {}, seed = 0, signal } = options;
  const kernels = options.kernels ?? loadKernels();
  const config = configFor(choice, source.vocabulary, seed);
  const counted = await countSequences(source, signal);
  const trained = await trainTokenCodec(source, counted, config, kernels, signal);
  await writeSequences(specOf(trained.codec, counted, options), trained, counted, options);
  return { ...counted, out };
}

/** The kind's settings, as far as there are so many ids, and what differs from them. */
function configFor(choice: TokenCodecChoice, vocabulary: number, seed: number): TokenCodecConfig {
  const { name = 'head-tail', ...changes } = choice;
  argument.oneOf(name, 'codec.name', Object.keys(TOKEN_PRESETS));
  const preset = TOKEN_PRESETS[name];
  const k = changes.k ?? Math.min(preset.k, vocabulary);
  const ordered = changes.ordered ?? Math.min(preset.ordered, k);
  return { ...preset, ...changes, k, ordered, vocabulary, seed };
}

async function countSequences(source: TokenSource, signal?: AbortSignal): Promise<CountedSource> {
  let [sequences, labels, tokens] = [0, 0, 0];
  for await (const sequence of source.sequences(signal)) {
    requireSequence(sequence, source.vocabulary);
    sequences++;
    labels += sequence.rows;
    tokens += sequence.tokens?.length ?? 0;
  }
  if (labels > 0) return { sequences, labels, tokens };
  const details = { field: 'source', expected: 'at least 1', found: 0 };
  throw new SoftpackError('TOO_FEW_LABELS', 'the source has no labels', details);
}

/** `INVALID_ARGUMENT` naming the sequence whose text and labels contradict each other. */
function requireSequence(
  { name, tokens, first, rows, mask, labels }: TokenSequence,
  vocabulary: number,
): void {
  const fail = (expected: string, found: unknown) => {
    const details = { field: name, expected, found };
    return new SoftpackError('INVALID_ARGUMENT', 'not labels of a text', details);
  };
  if (tokens !== undefined && first + rows > tokens.length) {
    throw fail(`labels of ${tokens.length} positions`, `${rows} from position ${first} on`);
  }
  const strange = tokens?.find((id) => id < 0 || id >= vocabulary);
  if (strange !== undefined) throw fail(`ids below ${vocabulary}`, strange);
  if (mask !== undefined && mask.length !== rows) throw fail(`a mask of ${rows}`, mask.length);
  if (labels.kind !== 'sparse') {
    if (labels.width < vocabulary) throw fail(`at least ${vocabulary} columns`, labels.width);
    return;
  }
  const { offsets, ids, logProbs } = labels;
  const ends = offsets.length === rows + 1 && offsets[0] === 0 && offsets[rows] === ids.length;
  const ascending = offsets.every((offset, i) => i === 0 || offsets[i - 1] <= offset);
  if (!ends || !ascending || ids.length !== logProbs.length) {
    throw fail(`${rows + 1} ascending offsets into as many ids as values`, `${ids.length} ids`);
  }
  const beyond = labels.ids.find((id) => id >= vocabulary);
  if (beyond !== undefined) throw fail(`ids below ${vocabulary}`, beyond);
}

function specOf(
  codec: TokenCodec,
  { sequences, labels, tokens }: CountedSource,
  { teacher }: PackTokensOptions,
): ArchiveSpec {
  return {
    classes: codec.config.vocabulary,
    samples: sequences,
    epochs: 1,
    tau: 1,
    codec: codec.parts(),
    layout: { kind: 'blocks', labelsPerBlock: 1 },
    decoding: TOKEN_DECODING,
    augmentation: null,
    teacher,
    request: { tokens: { labels, tokens } },
  };
}

async function writeSequences(
  spec: ArchiveSpec,
  { codec, listed: known }: TrainedTokenCodec,
  { sequences }: CountedSource,
  { source, out, signal, onProgress }: PackTokensOptions,
): Promise<void> {
  await using writer = await createArchive(out, spec, { resume: true });
  let [start, sequence, bytes] = [0, 0, 0];
  let blocks: Uint8Array[] = [];
  const flush = async () => {
    if (blocks.length > 0) {
      const piece = { epoch: 0, start, count: blocks.length };
      await writer.write(piece, { codes: joinBlocks(blocks) });
    }
    [start, blocks, bytes] = [sequence, [], 0];
  };
  for await (const own of source.sequences(signal)) {
    throwIfAborted(signal);
    if (sequence >= sequences) throw changed(sequences, sequence + 1);
    if (writer.has({ epoch: 0, start: sequence, count: 1 })) {
      await flush();
      start = ++sequence;
      continue;
    }
    const { vocabulary } = codec.config;
    const listed =
      known.get(sequence) ?? (await listRows(own, vocabulary, { ...codec.config, sequence }));
    known.delete(sequence);
    const block = await encodeSequence(own, listed, codec);
    blocks.push(block);
    bytes += block.length;
    sequence++;
    if (bytes >= PIECE_BYTES) await flush();
    onProgress?.(sequence, sequences);
  }
  await flush();
  if (sequence !== sequences) throw changed(sequences, sequence);
  await writer.finish();
}
