import { invalidFile } from '../../errors.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { allIntegers, type IntegerArray } from './integer-array.js';
import { requireTokens, type TokenLabelFile } from './label-file.js';

export interface TextIds {
  /** [sequences, positions], or all texts one after the other. */
  readonly tokens?: IntegerArray;
  /** Tokens of every text. Default: as many as there are labels, or all of a row. */
  readonly lengths?: IntegerArray;
}

/** Labels with texts that another file holds, in the same order. */
export async function withText(
  labels: TokenLabelFile,
  { tokens, lengths }: TextIds,
): Promise<TokenLabelFile> {
  if (tokens === undefined) return labels;
  const counts = lengths === undefined ? undefined : await allIntegers(lengths, 0);
  const { vocabulary } = labels;
  return {
    ...labels,
    async *sequences(signal) {
      let [i, at] = [0, 0];
      for await (const sequence of labels.sequences(signal)) {
        const [rows, columns] = tokens.shape.length === 2 ? tokens.shape : [undefined, undefined];
        const count = counts?.[i] ?? columns ?? sequence.first + sequence.rows;
        const start = columns === undefined ? at : i * columns;
        requireText(tokens, sequence, { i, rows, columns, count, end: start + count });
        const ids = requireTokens(tokens.name, await tokens.read(start, count), vocabulary);
        yield { ...sequence, tokens: ids };
        i += 1;
        at += count;
      }
      const texts = tokens.shape.length === 2 ? tokens.shape[0] - i : tokens.shape[0] - at;
      if (texts !== 0) throw notTheTexts(tokens, 'as many texts as there are labels of', texts);
    },
  };
}

function requireText(
  tokens: IntegerArray,
  { name, first, rows: labels, tokens: own }: TokenSequence,
  place: { i: number; rows?: number; columns?: number; count: number; end: number },
): void {
  if (own !== undefined) throw notTheTexts(tokens, `no ids: ${name} has its own`, 'ids');
  const { i, rows, columns, count, end } = place;
  const total = tokens.shape.reduce((a, b) => a * b, 1);
  const fits = end <= total && i < (rows ?? Infinity) && count <= (columns ?? Infinity);
  if (fits && count >= first + labels) return;
  throw notTheTexts(tokens, `ids of ${first + labels} tokens for ${name}`, `[${tokens.shape}]`);
}

function notTheTexts({ name }: IntegerArray, expected: string, found: unknown) {
  return invalidFile(name, 'shape', 'texts and labels do not fit together', { expected, found });
}
