import { invalidFile, SoftpackError } from '../../errors.js';
import { MAX_VOCABULARY } from '../../tokens/config.js';
import type { TokenSource } from '../../tokens/token-source.js';

/** What every reader of another tool's token labels gives: sequences in the order of the files. */
export interface TokenLabelFile extends TokenSource {
  /** Things a user must know: what was left out, or is not in the files. */
  readonly notes: readonly string[];
}

/**
 * The number of ids that labels of `width` columns are about. Columns that only pad the teacher's head (152,064
 * against 151,936 of Qwen's tokenizer) are cut if the caller names the number of real ones.
 */
export function requireVocabulary(
  file: string,
  width: number,
  vocabulary: number | undefined,
): number {
  if (width < 1 || width > MAX_VOCABULARY) {
    const details = { expected: `from 1 to ${MAX_VOCABULARY}`, found: width };
    throw invalidFile(file, 'vocabulary', 'not a number of ids', details);
  }
  if (vocabulary === undefined) return width;
  if (vocabulary <= width) return vocabulary;
  throw new SoftpackError('INVALID_ARGUMENT', 'file has labels of fewer ids', {
    field: 'vocabulary',
    expected: `at most ${width}, the ids of ${file}`,
    found: vocabulary,
  });
}

/** Ids of a text, each below `vocabulary`. */
export function requireTokens(file: string, tokens: Int32Array, vocabulary: number): Int32Array {
  const wrong = tokens.findIndex((id) => id < 0 || id >= vocabulary);
  if (wrong < 0) return tokens;
  throw invalidFile(file, `token ${wrong}`, 'id is not in the vocabulary', {
    expected: `0 to ${vocabulary - 1}`,
    found: tokens[wrong],
  });
}

/** The first `vocabulary` of every `width` columns. */
export function withoutPadding(
  values: Float32Array,
  width: number,
  vocabulary: number,
): Float32Array {
  if (width === vocabulary) return values;
  const rows = values.length / width;
  const out = new Float32Array(rows * vocabulary);
  for (let row = 0; row < rows; row++) {
    out.set(values.subarray(row * width, row * width + vocabulary), row * vocabulary);
  }
  return out;
}
