import type { TokenSource } from '../../tokens/token-source.js';
import type { NewFolder } from '../exports/folder.js';
import { idBits } from './distillkit-config.js';
import { HighBitWriter } from './high-bits.js';
import {
  entriesOf,
  otherIds,
  type SparseSequence,
  sparseSequences,
  unsupported,
} from './sparse-sequences.js';
import { listColumn, writeParquet } from './write-parquet.js';

/** Texts per row group: as many as DistillKit has in a file. */
const ROW_GROUP = 256;
const BYTES = { type: 'INT32', converted_type: 'UINT_8' } as const;
const IDS = { type: 'INT64', converted_type: 'UINT_64' } as const;

/**
 * Writes labels as DistillKit captures them, every value as float32: `data_0.parquet` and `compression_config.yaml`.
 * Labels of fewer than `k` entries are filled up with ids of probability 0. Returns the number of texts.
 */
export async function writeDistillKit(
  folder: NewFolder,
  source: TokenSource,
  signal?: AbortSignal,
): Promise<number> {
  let [k, count] = [1, 0];
  for await (const { labels, rows } of sparseSequences(source, signal)) {
    for (let row = 0; row < rows; row++)
      k = Math.max(k, labels.offsets[row + 1] - labels.offsets[row]);
    count += 1;
  }
  // DistillKit sets d to one more than the tokenizer has, so that training agrees with it.
  const d = source.vocabulary + 1;
  await folder.write('compression_config.yaml', Buffer.from(configText(d, k)));
  const columns = [
    listColumn('input_ids', 1, IDS),
    listColumn('compressed_logprobs', 2, BYTES),
    listColumn('bytepacked_indices', 2, BYTES),
  ];
  const rows = rowsOf(source, d, k, signal);
  await writeParquet(folder, 'data_0.parquet', columns, rows, ROW_GROUP);
  return count;
}

function configText(d: number, k: number): string {
  return [
    `d: ${d}`,
    'delta_encoding: false',
    'error_diffusion: false',
    'exact_dtype: float32',
    `exact_k: ${k}`,
    `k: ${k}`,
    'normalize_t: false',
    'polynomial_terms: null',
    'residual_bins: []',
    'term_dtype: float32',
    '',
  ].join('\n');
}

async function* rowsOf(source: TokenSource, d: number, k: number, signal: AbortSignal | undefined) {
  for await (const sequence of sparseSequences(source, signal)) {
    const { name, tokens, first, rows } = sequence;
    if (first !== 0 || rows > tokens.length) {
      throw unsupported(name, 'labels from the first token on', `from token ${first + 1} on`);
    }
    const labels = Array.from({ length: rows }, (_, row) => labelBytes(sequence, row, d, k));
    yield {
      input_ids: Array.from(tokens, BigInt),
      compressed_logprobs: labels.map(({ values }) => values),
      bytepacked_indices: labels.map(({ ids }) => ids),
    };
  }
}

function labelBytes({ labels }: SparseSequence, row: number, d: number, k: number) {
  const { ids, logProbs } = entriesOf(labels, row);
  const values = new Float32Array(k).fill(Number.NEGATIVE_INFINITY);
  values.set(logProbs);
  const bits = idBits({ d });
  const packed = new HighBitWriter(Math.ceil((k * bits) / 8));
  for (const id of [...ids, ...otherIds(ids, k - ids.length)]) packed.write(id, bits);
  return { values: [...new Uint8Array(values.buffer)], ids: [...packed.bytes] };
}
