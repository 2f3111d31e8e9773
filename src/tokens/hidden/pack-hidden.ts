import { argument } from '../../core/check.js';
import { SoftpackError } from '../../errors.js';
import { loadKernels } from '../../kernels/load.js';
import type { Kernels } from '../../kernels/types.js';
import {
  type CountedSource,
  changed,
  countSequences,
  requireText,
  type SequenceFailure,
  writeSequences,
} from '../pack-sequences.js';
import type { TokenSequence, TokenSource } from '../token-source.js';
import { MAX_EXACT } from './config.js';
import { exactRule } from './exact-ids.js';
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
  /**
   * Most ids of a label whose logits are corrected, the most probable ones: states need fewer bytes where those few do not
   * matter. 0 for none, which is for who wants states and not distributions. Default: 16.
   */
  readonly exact?: number;
  /** Stores the output matrix in the archive. Default: only its sha256, for readers that have the teacher. */
  readonly storeHead?: boolean;
  /** Identifies the teacher, as plain JSON. */
  readonly teacher?: object;
  /** Texts of a shard; default: as many as have about 2^18 labels. */
  readonly shardTexts?: number;
  readonly kernels?: Kernels;
  readonly onProgress?: (done: number, sequences: number) => void;
  readonly signal?: AbortSignal;
}

export interface PackHiddenResult extends CountedSource {
  readonly out: string;
}

const EXACT = 16;
/** Labels that are learnt from, or four per dimension. */
const TRAINING_LABELS = 16_384;
/** Labels of one sequence that are learnt from. */
const TRAINING_ROWS = 512;
/** Memory for states that were learnt from, which need not be asked for again: a model may take long to make them. */
const KEPT_BYTES = 2 ** 26;

/**
 * Stores a teacher's hidden states of texts as an archive of one block per sequence. The source is gone through three
 * times: to count, to learn from sequences spread over it, and to encode; hidden states are read in pieces, once but for those
 * learnt from beyond 64 MiB.
 * Killed at any moment and started again on the same machine it ends with the same bytes.
 */
export async function packHidden(options: PackHiddenOptions): Promise<PackHiddenResult> {
  const { source, head, out, kl = 0.005, storeHead = false, signal } = options;
  const { exact = EXACT } = options;
  const kernels = options.kernels ?? loadKernels();
  argument.number(kl, 'kl', 1e-6, 10);
  argument.count(exact, 'exact', 0, MAX_EXACT);
  checkHead(head);
  argument.count(head.vocabulary, 'head.vocabulary', source.vocabulary, source.vocabulary);
  const check = (own: TokenSequence) => requireHidden(own, source.vocabulary, head.width);
  const counted = await countSequences(source, check, signal);
  const { states, kept } = await trainingStates(source, counted, head, signal);
  const rule = exactRule(exact, head.vocabulary);
  const learning = { head, kl, labels: counted.labels, storeHead, kernels, rule };
  const encoder = await learnHidden(states, learning);
  const parts = encoder.codec.parts();
  await writeSequences(parts, HIDDEN_DECODING, counted, options, (own, sequence) => {
    const known = kept.get(sequence);
    kept.delete(sequence);
    const read = async (from: number, count: number) =>
      known?.slice(from * head.width, (from + count) * head.width) ??
      (await readHidden(own, from, count));
    return encodeHiddenSequence(own, own.rows, read, encoder);
  });
  return { ...counted, out };
}

function requireHidden(sequence: TokenSequence, vocabulary: number, width: number): void {
  const { name, labels } = sequence;
  const fail: SequenceFailure = (expected, found) => {
    const details = { field: name, expected, found };
    throw new SoftpackError('INVALID_ARGUMENT', 'not hidden states of a text', details);
  };
  if (labels.kind !== 'hidden') fail('hidden states', labels.kind);
  if (labels.width !== width) fail(`${width} wide`, labels.width);
  requireText(sequence, vocabulary, fail);
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

/** States of sequences spread over the source, [count, width], and those of whole sequences again, by their numbers. */
async function trainingStates(
  source: TokenSource,
  { sequences, labels }: CountedSource,
  { width }: OutputHead,
  signal?: AbortSignal,
): Promise<{ states: Float32Array; kept: Map<number, Float32Array> }> {
  const share = Math.min(1, Math.max(TRAINING_LABELS, 4 * width) / labels);
  const parts: Float32Array[] = [];
  const kept = new Map<number, Float32Array>();
  let [passed, taken, sequence, keptBytes] = [0, 0, 0, 0];
  for await (const own of source.sequences(signal)) {
    const number = sequence++;
    const wanted = own.rows > 0 && taken <= share * passed;
    passed += own.rows;
    if (!wanted) continue;
    // The middle of a long text stands for all of it.
    const count = share === 1 ? own.rows : Math.min(own.rows, TRAINING_ROWS);
    const states = await readHidden(own, Math.floor((own.rows - count) / 2), count);
    parts.push(states);
    taken += count;
    if (count < own.rows || keptBytes + states.byteLength > KEPT_BYTES) continue;
    kept.set(number, states);
    keptBytes += states.byteLength;
  }
  if (sequence !== sequences) throw changed(sequences, sequence);
  const out = new Float32Array(taken * width);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return { states: out, kept };
}
