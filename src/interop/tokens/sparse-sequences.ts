import { SoftpackError, throwIfAborted } from '../../errors.js';
import type { SparseRows, TokenSequence, TokenSource } from '../../tokens/token-source.js';

/** A text with labels of a few entries each: what the formats of other tools hold. */
export interface SparseSequence extends TokenSequence {
  readonly tokens: Int32Array;
  readonly labels: SparseRows;
}

/** Sequences of a source; `UNSUPPORTED` for one without a text, and for labels that are not of a few entries. */
export async function* sparseSequences(
  source: TokenSource,
  signal?: AbortSignal,
): AsyncGenerator<SparseSequence> {
  for await (const sequence of source.sequences(signal)) {
    throwIfAborted(signal);
    const { name, tokens, labels } = sequence;
    if (tokens === undefined) throw unsupported(name, 'the ids of the text', 'labels alone');
    if (labels.kind !== 'sparse') throw unsupported(name, 'a few ids per label', labels.kind);
    yield { ...sequence, tokens, labels };
  }
}

/** `UNSUPPORTED`: the layout that is written cannot express a sequence. */
export function unsupported(name: string, expected: string, found: unknown): SoftpackError {
  const message = 'the layout cannot hold these labels';
  return new SoftpackError('UNSUPPORTED', message, { field: name, expected, found });
}

/** Ids and log-probabilities of label `row`. */
export function entriesOf({ offsets, ids, logProbs }: SparseRows, row: number) {
  const [begin, end] = [offsets[row], offsets[row + 1]];
  return { ids: ids.subarray(begin, end), logProbs: logProbs.subarray(begin, end) };
}

/** The lowest ids that are not among the given ones: entries without probability of labels that are to be longer. */
export function otherIds(ids: Uint32Array, count: number): readonly number[] {
  const listed = new Set(ids);
  const others: number[] = [];
  for (let id = 0; others.length < count; id++) if (!listed.has(id)) others.push(id);
  return others;
}
