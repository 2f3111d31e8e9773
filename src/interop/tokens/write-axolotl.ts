import type { TokenSource } from '../../tokens/token-source.js';
import type { NewFolder } from '../exports/folder.js';
import {
  entriesOf,
  type SparseSequence,
  sparseSequences,
  unsupported,
} from './sparse-sequences.js';
import { writeJsonLines } from './write-json-lines.js';

const FILE = 'train.jsonl';

/**
 * Writes labels as a data set of axolotl's distillation: a line per text with `input_ids`, `logprobs` and
 * `target_token_ids`, whose last row belongs to the last token. Returns the number of texts.
 */
export function writeAxolotl(
  folder: NewFolder,
  source: TokenSource,
  signal?: AbortSignal,
): Promise<number> {
  return writeJsonLines(folder, FILE, linesOf(source, signal));
}

async function* linesOf(source: TokenSource, signal: AbortSignal | undefined) {
  for await (const sequence of sparseSequences(source, signal)) {
    const { tokens, first, labels } = sequence;
    const rows = labelledRows(sequence).map((row) => entriesOf(labels, row));
    const width = rows.reduce(
      (least, { ids }) => Math.min(least, ids.length),
      rows[0]?.ids.length ?? 0,
    );
    if (first + 1 + rows.length !== tokens.length || !(width > 0)) {
      throw unsupported(
        sequence.name,
        'labels with entries for all tokens up to the last one',
        `${rows.length} of ${tokens.length} tokens from token ${first + 1} on, at least ${width} entries`,
      );
    }
    yield {
      input_ids: [...tokens],
      logprobs: rows.map(({ logProbs }) => [...logProbs]),
      target_token_ids: rows.map(({ ids }) => [...ids]),
    };
  }
}

/** Labels of tokens of the text; the one behind the last token is left out. */
function labelledRows({ tokens, first, rows }: SparseSequence): readonly number[] {
  return Array.from({ length: Math.min(rows, tokens.length - 1 - first) }, (_, row) => row);
}
