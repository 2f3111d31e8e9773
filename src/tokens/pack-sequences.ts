import { createArchive } from '../archive/create.js';
import type { ArchiveSpec } from '../archive/spec.js';
import { joinBlocks } from '../core/blocks.js';
import { argument } from '../core/check.js';
import type { CodecParts } from '../core/codec-parts.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import type { TokenSequence, TokenSource } from './token-source.js';

/** What labels of any kind are stored by: a block per sequence, in the order of the source. */

export interface CountedSource {
  readonly sequences: number;
  readonly labels: number;
  /** Tokens of all texts. */
  readonly tokens: number;
}

/**
 * Goes through a source once.
 *
 * @param check throws what is wrong with a sequence.
 * @throws `TOO_FEW_LABELS` if there are none.
 */
export async function countSequences(
  source: TokenSource,
  check: (sequence: TokenSequence) => void,
  signal?: AbortSignal,
): Promise<CountedSource> {
  let [sequences, labels, tokens] = [0, 0, 0];
  for await (const sequence of source.sequences(signal)) {
    check(sequence);
    sequences++;
    labels += sequence.rows;
    tokens += sequence.tokens?.length ?? 0;
  }
  if (labels > 0) return { sequences, labels, tokens };
  const details = { field: 'source', expected: 'at least 1', found: 0 };
  throw new SoftpackError('TOO_FEW_LABELS', 'the source has no labels', details);
}

/** Throws `INVALID_ARGUMENT` with what was expected of a sequence and what was found instead. */
export type SequenceFailure = (expected: string, found: unknown) => never;

/** That labels and mask of a sequence fit its text. */
export function requireText(
  { tokens, first, rows, mask }: TokenSequence,
  vocabulary: number,
  fail: SequenceFailure,
): void {
  if (tokens !== undefined && first + rows > tokens.length) {
    fail(`labels of ${tokens.length} positions`, `${rows} from position ${first} on`);
  }
  const strange = tokens?.find((id) => id < 0 || id >= vocabulary);
  if (strange !== undefined) fail(`ids below ${vocabulary}`, strange);
  if (mask !== undefined && mask.length !== rows) fail(`a mask of ${rows}`, mask.length);
}

export function changed(expected: number, found: number): SoftpackError {
  const details = { field: 'source', expected: `${expected} sequences`, found };
  return new SoftpackError('INVALID_ARGUMENT', 'the source gave other sequences before', details);
}

/** What decides the files of an archive beside the labels. */
interface SequencesLayout {
  /** Identifies the teacher, as plain JSON. */
  readonly teacher?: object;
  /** Texts of a shard; default: as many as have about 2^18 labels. */
  readonly shardTexts?: number;
}

interface SequencesOptions extends SequencesLayout {
  readonly source: TokenSource;
  readonly out: string;
  readonly onProgress?: (done: number, sequences: number) => void;
  readonly signal?: AbortSignal;
}

/** Of a shard: more make a unit of work that is lost too dearly when its machine dies. */
const SHARD_LABELS = 2 ** 18;

/** The archive of a source's sequences. */
export function sequencesSpec(
  codec: CodecParts,
  decoding: ArchiveSpec['decoding'],
  { sequences, labels, tokens }: CountedSource,
  vocabulary: number,
  { teacher, shardTexts }: SequencesLayout,
): ArchiveSpec {
  if (shardTexts !== undefined) argument.count(shardTexts, 'shardTexts', 1);
  const even = Math.ceil(sequences / Math.min(sequences, Math.ceil(labels / SHARD_LABELS)));
  return {
    classes: vocabulary,
    samples: sequences,
    epochs: 1,
    tau: 1,
    codec,
    layout: { kind: 'blocks', labelsPerBlock: 1 },
    decoding,
    augmentation: null,
    teacher,
    request: { tokens: { labels, tokens } },
    grid: { epochs: 1, samples: Math.min(sequences, shardTexts ?? even) },
  };
}

/** Bytes of a piece of sequences that are written together, at least. */
const PIECE_BYTES = 2 ** 20;

/** Writes an archive of a source's sequences; those of an unfinished one are not encoded again. */
export async function writeSequences(
  codec: CodecParts,
  decoding: ArchiveSpec['decoding'],
  counted: CountedSource,
  { source, out, signal, onProgress, ...layout }: SequencesOptions,
  encode: (own: TokenSequence, sequence: number) => Promise<Uint8Array>,
): Promise<void> {
  const { sequences } = counted;
  const spec = sequencesSpec(codec, decoding, counted, source.vocabulary, layout);
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
    const block = await encode(own, sequence);
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
