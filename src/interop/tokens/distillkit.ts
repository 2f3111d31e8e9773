import { FieldChecker } from '../../core/check.js';
import { decodeText } from '../../core/text.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import type { ByteFile, ByteStore } from '../../store/byte-store.js';
import type { TokenSequence } from '../../tokens/token-source.js';
import { listOf, smallInteger } from './columns.js';
import {
  type DistillKitConfig,
  idBits,
  parseDistillKitConfig,
  valueBytes,
} from './distillkit-config.js';
import { DistillKitValues } from './distillkit-values.js';
import { HighBitReader } from './high-bits.js';
import { requireTokens, requireVocabulary, type TokenLabelFile } from './label-file.js';
import { type ParquetRow, parquetRows } from './parquet.js';
import { SparseBuilder } from './sparse-builder.js';

/**
 * Labels that DistillKit captured: `data_{n}.parquet` with `input_ids`, `compressed_logprobs` and `bytepacked_indices`,
 * and `compression_config.yaml`. Label i is the distribution of the token behind `input_ids[i]`.
 */
export interface DistillKitOptions {
  /** Ids of the tokenizer; default: `d` of the configuration, which is one more at least. */
  readonly vocabulary?: number;
}

const CONFIG = 'compression_config.yaml';
const MAX_CONFIG = 2 ** 20;
const DATA = /^data_(\d{1,9})\.parquet$/;
const COLUMNS = ['input_ids', 'compressed_logprobs', 'bytepacked_indices'] as const;

export async function readDistillKit(
  store: ByteStore,
  options: DistillKitOptions = {},
): Promise<TokenLabelFile> {
  const config = await readConfig(store);
  const vocabulary = requireVocabulary(`${store.name}/${CONFIG}`, config.d, options.vocabulary);
  const names = await dataFiles(store);
  return {
    vocabulary,
    notes:
      config.exactK === config.k
        ? []
        : [
            'values are approximate as DistillKit stored them; labels of more than 1 are scaled down',
          ],
    async *sequences(signal) {
      const decoder = new LabelDecoder(config, vocabulary);
      for (const name of names) {
        throwIfAborted(signal);
        const file = await store.open(name);
        try {
          let row = 0;
          for await (const fields of parquetRows(file, COLUMNS, signal)) {
            yield sequenceOf(file, row, fields, decoder);
            row += 1;
          }
        } finally {
          await file.close();
        }
      }
    },
  };
}

async function readConfig(store: ByteStore): Promise<DistillKitConfig> {
  const file = await store.open(CONFIG);
  try {
    new FieldChecker(file.name, 'INVALID_FILE').count(file.size, 'size', 1, MAX_CONFIG);
    const bytes = new Uint8Array(file.size);
    await file.read(0, bytes);
    return await parseDistillKitConfig(file.name, decodeText(file.name, 'content', bytes));
  } finally {
    await file.close();
  }
}

/** In order of their numbers, without a gap: a missing file would be texts that nobody misses. */
async function dataFiles(store: ByteStore): Promise<readonly string[]> {
  const numbers = ((await store.list?.()) ?? [])
    .map((name) => DATA.exec(name)?.[1])
    .filter((number) => number !== undefined)
    .sort((a, b) => Number(a) - Number(b));
  const first = Number(numbers[0] ?? 0);
  const missing = numbers.findIndex((number, i) => Number(number) !== first + i);
  if (numbers.length > 0 && missing < 0) return numbers.map((number) => `data_${number}.parquet`);
  throw new SoftpackError('NOT_FOUND', 'files are missing', {
    field: store.name,
    expected: 'data_{n}.parquet without a gap',
    found: numbers.length === 0 ? 'none' : `no number ${first + missing}`,
  });
}

/** Decodes labels and checks that each has the bytes of its configuration. */
class LabelDecoder {
  readonly vocabulary: number;
  readonly #config: DistillKitConfig;
  readonly #values: DistillKitValues;
  readonly #bits: number;

  constructor(config: DistillKitConfig, vocabulary: number) {
    this.vocabulary = vocabulary;
    this.#config = config;
    this.#values = new DistillKitValues(config);
    this.#bits = idBits(config);
  }

  add(name: string, label: number, values: unknown, ids: unknown, builder: SparseBuilder): void {
    const { k, exactK } = this.#config;
    const stored = bytesOf(name, `compressed_logprobs[${label}]`, values, valueBytes(this.#config));
    const packed = bytesOf(
      name,
      `bytepacked_indices[${label}]`,
      ids,
      Math.ceil((k * this.#bits) / 8),
    );
    const logProbs = this.#values.decode(stored);
    const reader = new HighBitReader(packed, 0);
    for (let i = 0; i < k; i++) {
      const id = reader.read(this.#bits);
      // Entries that vLLM did not give are -Infinity, their ids whatever was in memory; differences make them NaN.
      if (logProbs[i] === Number.NEGATIVE_INFINITY) break;
      // Fits reach above 0, values that are stored as they are do not.
      builder.add(id, i < exactK ? logProbs[i] : Math.min(0, logProbs[i]));
    }
    builder.endRow();
  }
}

function sequenceOf(
  file: ByteFile,
  row: number,
  fields: ParquetRow,
  decoder: LabelDecoder,
): TokenSequence {
  const name = `${file.name}: row ${row}`;
  const [inputIds, logprobs, indices] = COLUMNS.map((column) =>
    listOf(name, column, fields[column]),
  );
  if (logprobs.length !== indices.length || logprobs.length > inputIds.length) {
    throw invalidFile(name, 'bytepacked_indices', 'columns do not fit together', {
      expected: `${logprobs.length} lists of ids, for at most ${inputIds.length} tokens`,
      found: indices.length,
    });
  }
  const builder = new SparseBuilder(name, decoder.vocabulary);
  for (const [label, values] of logprobs.entries()) {
    decoder.add(name, label, values, indices[label], builder);
  }
  const tokens = Int32Array.from(inputIds, (id) => smallInteger(id));
  return {
    name,
    tokens: requireTokens(name, tokens, decoder.vocabulary),
    first: 0,
    rows: builder.rows,
    labels: builder.finish(),
  };
}

function bytesOf(name: string, field: string, value: unknown, length: number): Uint8Array {
  const list = listOf(name, field, value);
  const bytes = Uint8Array.from({ length: list.length }, (_, i) => Number(list[i]));
  const wrong = bytes.findIndex((byte, i) => byte !== list[i]);
  if (list.length === length && wrong < 0) return bytes;
  throw invalidFile(name, field, 'not the bytes of a label of this configuration', {
    expected: `${length} bytes`,
    found: wrong < 0 ? list.length : list[wrong],
  });
}
