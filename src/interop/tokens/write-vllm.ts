import type { TokenSource } from '../../tokens/token-source.js';
import type { NewFolder } from '../exports/folder.js';
import { entriesOf, otherIds, type SparseSequence, sparseSequences } from './sparse-sequences.js';
import { NO_PROBABILITY } from './vllm-log-prob.js';
import { writeJsonLines } from './write-json-lines.js';

const FILE = 'prompt_logprobs.jsonl';

/**
 * Writes labels as vLLM gives prompt log-probabilities: a line per text with `prompt_token_ids` and `prompt_logprobs`,
 * null for tokens without a label. Returns the number of texts.
 */
export function writeVllm(
  folder: NewFolder,
  source: TokenSource,
  signal?: AbortSignal,
): Promise<number> {
  return writeJsonLines(folder, FILE, requestsOf(source, signal));
}

async function* requestsOf(source: TokenSource, signal: AbortSignal | undefined) {
  for await (const sequence of sparseSequences(source, signal)) {
    const { offsets } = sequence.labels;
    const k = offsets.slice(1).reduce((most, end, row) => Math.max(most, end - offsets[row]), 1);
    yield {
      prompt_token_ids: [...sequence.tokens],
      prompt_logprobs: Array.from(sequence.tokens, (_, at) => labelOf(sequence, at, k)),
    };
  }
}

/**
 * The distribution of the token at a position, which is the label of the one before. All of a text have `k` ranks, as
 * those of vLLM: what is missing is filled up with ids of no probability.
 */
function labelOf({ first, rows, labels }: SparseSequence, position: number, k: number) {
  const row = position - 1 - first;
  if (row < 0 || row >= rows) return null;
  const { ids, logProbs } = entriesOf(labels, row);
  const listed = Array.from(ids, (id, i) => ({ id, logprob: logProbs[i] }));
  const rest = otherIds(ids, k - ids.length).map((id) => ({ id, logprob: NO_PROBABILITY }));
  return Object.fromEntries(
    [...listed, ...rest].map(({ id, logprob }, i) => [id, { logprob, rank: i + 1 }]),
  );
}
