import { isJsonObject, parseJson } from '../../core/json.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { listOf, smallInteger } from './columns.js';
import { requireTokens, type TokenLabelFile } from './label-file.js';
import { linesOf } from './lines.js';
import { type ParquetRow, parquetRows } from './parquet.js';
import { SparseBuilder } from './sparse-builder.js';

/**
 * Data sets of axolotl's distillation, JSON lines or Parquet, in three forms: `logprobs` with
 * `{"token": "token_id:N", "logprob"}` per position; `logprobs` with numbers and `target_token_ids`; and what axolotl
 * prepares of them, `target_logprobs`, `target_token_ids` and `target_mask` next to `input_ids`. The last row belongs to
 * the last token of the text; the row of a token is its own distribution, so it is the label of the position before.
 */
export interface AxolotlOptions {
  readonly vocabulary: number;
  /** Column of the log-probabilities (`logprobs_field`); default: `logprobs`. */
  readonly column?: string;
}

const PREPARED = ['target_logprobs', 'target_mask'];
const SHARED = ['input_ids', 'target_token_ids'];
const TOKEN = /^token_id:(\d{1,10})$/;

export function readAxolotl(file: ByteFile, options: AxolotlOptions): TokenLabelFile {
  const { vocabulary, column = 'logprobs' } = options;
  return {
    vocabulary,
    notes: [
      'axolotl renormalises: labels that it has prepared say nothing of ids that are not listed',
    ],
    async *sequences(signal) {
      let row = 0;
      for await (const fields of rowsOf(file, [column, ...PREPARED, ...SHARED], signal)) {
        throwIfAborted(signal);
        yield sequenceOf(`${file.name}: row ${row}`, fields, column, vocabulary);
        row += 1;
      }
    },
  };
}

async function* rowsOf(
  file: ByteFile,
  columns: readonly string[],
  signal: AbortSignal | undefined,
): AsyncGenerator<ParquetRow> {
  const magic = Buffer.alloc(Math.min(4, file.size));
  await file.read(0, magic);
  if (magic.toString('latin1') === 'PAR1') {
    yield* parquetRows(file, columns, signal);
    return;
  }
  for await (const { number, bytes } of linesOf(file)) {
    const value = parseJson(file.name, `line ${number}`, bytes);
    if (!isJsonObject(value)) {
      throw invalidFile(file.name, `line ${number}`, 'not an object', { found: value });
    }
    yield value;
  }
}

interface Row {
  /** Undefined for positions without a label. */
  readonly ids?: readonly unknown[];
  readonly logProbs: readonly unknown[];
  readonly train: boolean;
}

function sequenceOf(
  name: string,
  fields: ParquetRow,
  column: string,
  vocabulary: number,
): TokenSequence {
  const prepared = fields.target_logprobs != null;
  const rows = prepared ? preparedRows(name, fields) : capturedRows(name, fields, column);
  const tokens =
    fields.input_ids == null
      ? undefined
      : Int32Array.from(listOf(name, 'input_ids', fields.input_ids), smallInteger);
  const missing = (tokens?.length ?? rows.length) - rows.length;
  if (missing < 0) {
    throw invalidFile(name, column, 'more labels than tokens', {
      expected: `at most ${tokens?.length}`,
      found: rows.length,
    });
  }
  // Padding in front has no labels; the first token of a text has none that a position could predict.
  const labelled = rows.findIndex(({ ids }) => ids !== undefined);
  const begin = Math.max(labelled, missing === 0 && tokens !== undefined ? 1 : 0);
  if (labelled < 0 || begin >= rows.length) {
    throw invalidFile(name, column, 'no labels', { found: `${rows.length} rows` });
  }
  const own = rows.slice(begin);
  const builder = new SparseBuilder(name, vocabulary);
  for (const { ids = [], logProbs } of own) {
    for (const [i, id] of ids.entries()) builder.add(smallInteger(id), numberOf(logProbs[i]));
    builder.endRow();
  }
  return {
    name,
    ...(tokens === undefined ? {} : { tokens: requireTokens(name, tokens, vocabulary) }),
    first: tokens === undefined ? 0 : missing + begin - 1,
    rows: own.length,
    ...(own.every(({ train }) => train)
      ? {}
      : { mask: Uint8Array.from(own, ({ train }) => (train ? 1 : 0)) }),
    labels: builder.finish(),
  };
}

/** JSON has no infinity: what has no probability is null there. */
function numberOf(value: unknown): number {
  if (value === null) return Number.NEGATIVE_INFINITY;
  return typeof value === 'number' ? value : Number.NaN;
}

function preparedRows(name: string, fields: ParquetRow): readonly Row[] {
  const rows = pairedRows(name, 'target_logprobs', fields);
  if (fields.target_mask == null) return rows;
  const masks = listOf(name, 'target_mask', fields.target_mask);
  if (masks.length !== rows.length) {
    throw invalidFile(name, 'target_mask', 'columns do not fit together', {
      expected: rows.length,
      found: masks.length,
    });
  }
  return rows.map((row, i) => {
    const [first] = listOf(name, `target_mask[${i}]`, masks[i]);
    return { ...row, train: smallInteger(first) === 1 };
  });
}

function capturedRows(name: string, fields: ParquetRow, column: string): readonly Row[] {
  if (fields.target_token_ids != null) return pairedRows(name, column, fields);
  return listOf(name, column, fields[column]).map((value, i) => {
    if (value == null) return { logProbs: [], train: true };
    const entries = listOf(name, `${column}[${i}]`, value).map((entry, j) =>
      entryOf(name, `${column}[${i}][${j}]`, entry),
    );
    return {
      ids: entries.map(({ id }) => id),
      logProbs: entries.map(({ logProb }) => logProb),
      train: true,
    };
  });
}

function entryOf(name: string, field: string, entry: unknown) {
  const { token, logprob } = isJsonObject(entry) ? entry : {};
  const id = typeof token === 'string' ? TOKEN.exec(token)?.[1] : undefined;
  if (id === undefined) {
    throw new SoftpackError('INVALID_FILE', 'entry does not tell the id of its token', {
      field: `${name}: ${field}`,
      expected: '{"token": "token_id:N", "logprob"}, as vLLM gives with return_tokens_as_token_ids',
      found: token ?? entry,
    });
  }
  return { id: Number(id), logProb: logprob };
}

/** Numbers next to `target_token_ids`; rows of nothing but -infinity are padding. */
function pairedRows(name: string, column: string, fields: ParquetRow): readonly Row[] {
  const values = listOf(name, column, fields[column]);
  const lists = listOf(name, 'target_token_ids', fields.target_token_ids);
  if (lists.length !== values.length) {
    throw invalidFile(name, 'target_token_ids', 'columns do not fit together', {
      expected: values.length,
      found: lists.length,
    });
  }
  return values.map((value, i) => {
    const logProbs = value == null ? [] : listOf(name, `${column}[${i}]`, value);
    const ids = lists[i] == null ? [] : listOf(name, `target_token_ids[${i}]`, lists[i]);
    if (ids.length !== logProbs.length) {
      throw invalidFile(name, `target_token_ids[${i}]`, 'another number of ids than of values', {
        expected: logProbs.length,
        found: ids.length,
      });
    }
    const empty = logProbs.every((logProb) => numberOf(logProb) === Number.NEGATIVE_INFINITY);
    return empty ? { logProbs, train: true } : { ids, logProbs, train: true };
  });
}
