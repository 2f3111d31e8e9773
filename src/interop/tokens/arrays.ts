import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import { FLOAT_BYTES, floatsOf } from '../../labels/elements.js';
import { inCOrder } from '../../labels/fortran-order.js';
import { locateArray, type StoredArray } from '../../labels/stored-array.js';
import type { ByteFile } from '../../store/byte-store.js';
import type { DenseRows, TokenSequence } from '../../tokens/token-source.js';
import { readStates } from './hidden-states.js';
import { allIntegers, type IntegerArray } from './integer-array.js';
import {
  requireTokens,
  requireVocabulary,
  type TokenLabelFile,
  withoutPadding,
} from './label-file.js';

/**
 * Own arrays, .npy, .npz or .safetensors: logits [tokens, ids] or hidden states [tokens, dimensions], the sequences
 * one after the other with their `lengths`, or padded, [sequences, positions, ids or dimensions].
 */
export interface TokenArrayOptions {
  readonly kind: 'logits' | 'hidden';
  /** Which array of a file that holds several. */
  readonly tensor?: string;
  /** Ids of the text, as many as labels, of the same shape. */
  readonly tokens?: IntegerArray;
  /** Positions of every sequence. Default: all tokens are one sequence, or none is padded. */
  readonly lengths?: IntegerArray;
  /** Ids of the tokenizer; for logits, default: one per column. */
  readonly vocabulary?: number;
}

export async function readTokenArray(
  file: ByteFile,
  options: TokenArrayOptions,
): Promise<TokenLabelFile> {
  const array = await locateArray(file, options.tensor);
  const { shape, field } = array;
  if ((shape.length !== 2 && shape.length !== 3) || shape.includes(0)) {
    throw new SoftpackError('INVALID_FILE', 'not an array of token labels', {
      field,
      expected: '[tokens, n] or [sequences, positions, n]',
      found: `[${shape.join(', ')}]`,
    });
  }
  const vocabulary = vocabularyOf(file.name, array, options);
  const pieces = await piecesOf(shape, options.lengths);
  const rows = await inCOrder(array);
  const { tokens } = options;
  if (tokens !== undefined && String(tokens.shape) !== String(shape.slice(0, -1))) {
    throw invalidFile(tokens.name, 'shape', 'not as many ids as labels', {
      expected: `[${shape.slice(0, -1).join(', ')}]`,
      found: `[${tokens.shape.join(', ')}]`,
    });
  }
  return {
    vocabulary,
    notes: tokens === undefined ? ['no text: give its ids by tokens'] : [],
    async *sequences(signal) {
      for (const [i, { start, count }] of pieces.entries()) {
        throwIfAborted(signal);
        const name = `${file.name}: sequence ${i}`;
        const ids = await tokens?.read(start, count);
        const sequence: TokenSequence = {
          name,
          ...(ids === undefined ? {} : { tokens: requireTokens(name, ids, vocabulary) }),
          ...{ first: 0, rows: count },
          labels: labelsOf(rows, options.kind, { name, start, vocabulary }),
        };
        yield sequence;
      }
    },
  };
}

function vocabularyOf(file: string, { shape }: StoredArray, options: TokenArrayOptions): number {
  const width = shape[shape.length - 1];
  if (options.kind === 'logits') return requireVocabulary(file, width, options.vocabulary);
  if (options.vocabulary !== undefined) return options.vocabulary;
  throw new SoftpackError('INVALID_ARGUMENT', 'hidden states do not tell the number of ids', {
    field: 'vocabulary',
    expected: "ids of the teacher's tokenizer",
  });
}

interface Piece {
  /** First label, counted over the whole array. */
  readonly start: number;
  readonly count: number;
}

async function piecesOf(
  shape: readonly number[],
  lengths: IntegerArray | undefined,
): Promise<readonly Piece[]> {
  const padded = shape.length === 3;
  const [sequences, positions] = padded ? shape : [1, shape[0]];
  if (lengths === undefined) {
    return Array.from({ length: sequences }, (_, i) => ({
      start: i * positions,
      count: positions,
    }));
  }
  const counts = await allIntegers(lengths, 0);
  const fits = padded
    ? counts.length === sequences && counts.every((count) => count <= positions)
    : counts.reduce((sum, count) => sum + count, 0) === positions;
  if (!fits) {
    throw invalidFile(lengths.name, 'lengths', 'lengths do not fit the labels', {
      expected: padded ? `${sequences}, each up to ${positions}` : `${positions} in all`,
      found: `${counts.length} lengths`,
    });
  }
  let start = 0;
  return Array.from(counts, (count, i) => {
    const piece = { start: padded ? i * positions : start, count };
    start += count;
    return piece;
  });
}

function labelsOf(
  { file, dtype, bigEndian, dataOffset, shape }: StoredArray,
  kind: 'logits' | 'hidden',
  { name, start, vocabulary }: { name: string; start: number; vocabulary: number },
): DenseRows {
  const width = shape[shape.length - 1];
  const each = FLOAT_BYTES[dtype];
  if (kind === 'hidden' && !bigEndian) {
    const stored = { file, name, dtype, stride: width, width };
    const offset = dataOffset + start * width * each;
    return { kind, width, read: (from, count) => readStates({ ...stored, offset }, from, count) };
  }
  return {
    kind,
    width: kind === 'logits' ? vocabulary : width,
    async read(from, count) {
      const bytes = new Uint8Array(count * width * each);
      await file.read(dataOffset + (start + from) * width * each, bytes);
      const values = floatsOf(bytes, dtype, bigEndian);
      requireLogits(name, from, values, width);
      return kind === 'logits' ? withoutPadding(values, width, vocabulary) : values;
    },
  };
}

/** -Infinity masks an id; a label of nothing else, NaN and +Infinity are none. */
function requireLogits(name: string, from: number, values: Float32Array, width: number): void {
  for (let row = 0; row * width < values.length; row++) {
    const own = values.subarray(row * width, (row + 1) * width);
    const highest = own.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
    if (Number.isFinite(highest)) continue;
    throw new SoftpackError('NON_FINITE', 'label has no finite maximum', {
      field: `${name}, label ${from + row}`,
      expected: 'finite values, or -Infinity for impossible ids',
      found: String(highest),
    });
  }
}
