import { createArchive } from '../../archive/create.js';
import type { ArchiveSpec } from '../../archive/spec.js';
import { joinBlocks } from '../../core/blocks.js';
import { argument } from '../../core/check.js';
import { SoftpackError, throwIfAborted } from '../../errors.js';
import { loadKernels } from '../../kernels/load.js';
import type { Kernels } from '../../kernels/types.js';
import type { TokenSequence, TokenSource } from '../token-source.js';
import { type CountedSource, changed } from '../train-tokens.js';
import type { HiddenEncoder } from './encoder.js';
import { encodeHiddenSequence } from './hidden-block.js';
import { HIDDEN_DECODING } from './hidden-codec.js';
import { learnHidden } from './learn.js';
import { checkHead, type OutputHead } from './output-head.js';

export interface PackHiddenOptions {
  /** Labels that are hidden states behind the teacher's last norm. */
  readonly source: TokenSource;
  /** The teacher's output matrix: it says which errors of a hidden state matter. */
  readonly head: OutputHead;
  /** Folder of the archive; an unfinished one of the same options is resumed. */
  readonly out: string;
  /** Mean KL of the teacher's distribution from the decoded one that is aimed at, in nats. Default: 0.005. */
  readonly kl?: number;
  /** Stores the output matrix in the archive. Default: only its sha256, for readers that have the teacher. */
  readonly storeHead?: boolean;
  /** Identifies the teacher, as plain JSON. */
  readonly teacher?: object;
  readonly kernels?: Kernels;
  readonly onProgress?: (done: number, sequences: number) => void;
  readonly signal?: AbortSignal;
}

export interface PackHiddenResult extends CountedSource {
  readonly out: string;
}

/** Labels that are learnt from, or four per dimension. */
const TRAINING_LABELS = 16_384;
/** Labels of one sequence that are learnt from. */
const TRAINING_ROWS = 512;
/** Bytes of sequences that are written together, at least. */
const PIECE_BYTES = 2 ** 20;

/**
 * Stores a teacher's hidden states of texts as an archive of one block per sequence. The source is gone through three
 * times: to count, to learn from sequences spread over it, and to encode; hidden states are read in pieces, mostly once.
 * Killed at any moment and started again on the same machine it ends with the same bytes.
 */
export async function packHidden(options: PackHiddenOptions): Promise<PackHiddenResult> {
  const { source, head, out, kl = 0.005, storeHead = false, signal } = options;
  const kernels = options.kernels ?? loadKernels();
  argument.number(kl, 'kl', 1e-6, 10);
  checkHead(head);
  argument.count(head.vocabulary, 'head.vocabulary', source.vocabulary, source.vocabulary);
  const counted = await countHidden(source, head, signal);
  const states = await trainingStates(source, counted, head, signal);
  const learning = { head, kl, labels: counted.labels, storeHead, kernels };
  const encoder = await learnHidden(states, learning);
  await writeSequences(specOf(encoder, counted, options), encoder, counted, options);
  return { ...counted, out };
}

async function countHidden(
  source: TokenSource,
  { width }: OutputHead,
  signal?: AbortSignal,
): Promise<CountedSource> {
  let [sequences, labels, tokens] = [0, 0, 0];
  for await (const sequence of source.sequences(signal)) {
    requireHidden(sequence, source.vocabulary, width);
    sequences++;
    labels += sequence.rows;
    tokens += sequence.tokens?.length ?? 0;
  }
  if (labels > 0) return { sequences, labels, tokens };
  const details = { field: 'source', expected: 'at least 1', found: 0 };
  throw new SoftpackError('TOO_FEW_LABELS', 'the source has no labels', details);
}

function requireHidden(
  { name, tokens, first, rows, mask, labels }: TokenSequence,
  vocabulary: number,
  width: number,
): void {
  const check = (valid: boolean, expected: string, found: unknown) => {
    if (valid) return;
    const details = { field: name, expected, found };
    throw new SoftpackError('INVALID_ARGUMENT', 'not hidden states of a text', details);
  };
  check(labels.kind === 'hidden', 'hidden states', labels.kind);
  if (labels.kind === 'hidden') check(labels.width === width, `${width} wide`, labels.width);
  const fits = tokens === undefined || first + rows <= tokens.length;
  check(fits, `labels of ${tokens?.length} positions`, `${rows} from position ${first} on`);
  const strange = tokens?.find((id) => id < 0 || id >= vocabulary);
  check(strange === undefined, `ids below ${vocabulary}`, strange);
  check(mask === undefined || mask.length === rows, `a mask of ${rows}`, mask?.length);
}

async function readHidden(
  { name, labels }: TokenSequence,
  start: number,
  count: number,
): Promise<Float32Array> {
  if (labels.kind !== 'hidden') throw new TypeError('checked before');
  const states = await labels.read(start, count);
  const wrong = states.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return states;
  throw new SoftpackError('NON_FINITE', 'hidden state has a value that is not a number', {
    field: `${name}: label ${start + Math.floor(wrong / labels.width)}`,
    expected: 'finite values',
    found: states[wrong],
  });
}

/** Hidden states of sequences spread over the source, [count, width]. */
async function trainingStates(
  source: TokenSource,
  { sequences, labels }: CountedSource,
  { width }: OutputHead,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const share = Math.min(1, Math.max(TRAINING_LABELS, 4 * width) / labels);
  const parts: Float32Array[] = [];
  let [passed, taken, sequence] = [0, 0, 0];
  for await (const own of source.sequences(signal)) {
    const wanted = own.rows > 0 && taken <= share * passed;
    passed += own.rows;
    sequence++;
    if (!wanted) continue;
    // The middle of a long text stands for all of it.
    const count = share === 1 ? own.rows : Math.min(own.rows, TRAINING_ROWS);
    parts.push(await readHidden(own, Math.floor((own.rows - count) / 2), count));
    taken += count;
  }
  if (sequence !== sequences) throw changed(sequences, sequence);
  const out = new Float32Array(taken * width);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function specOf(
  { codec }: HiddenEncoder,
  { sequences, labels, tokens }: CountedSource,
  { teacher }: PackHiddenOptions,
): ArchiveSpec {
  return {
    classes: codec.config.vocabulary,
    samples: sequences,
    epochs: 1,
    tau: 1,
    codec: codec.parts(),
    layout: { kind: 'blocks', labelsPerBlock: 1 },
    decoding: HIDDEN_DECODING,
    augmentation: null,
    teacher,
    request: { tokens: { labels, tokens } },
  };
}

async function writeSequences(
  spec: ArchiveSpec,
  encoder: HiddenEncoder,
  { sequences }: CountedSource,
  { source, out, signal, onProgress }: PackHiddenOptions,
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
    const read = (from: number, count: number) => readHidden(own, from, count);
    const block = await encodeHiddenSequence(own, own.rows, read, encoder);
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
