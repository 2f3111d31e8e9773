import { allocate } from '../../core/allocate.js';
import { invalidFile, SoftpackError, throwIfAborted } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import type { DenseRows, TokenSequence } from '../../tokens/token-source.js';
import {
  requireTokens,
  requireVocabulary,
  type TokenLabelFile,
  withoutPadding,
} from './label-file.js';

/**
 * A file of llama.cpp's `llama-perplexity --kl-divergence-base`. `_logits_`, then as int32 the window length, the
 * number of ids and the number of windows; the ids of all windows; then, for the second half of every window, one
 * record per position: scale and lowest log-probability (float32), and 16 bits per id, padded to an even number of
 * ids. log p = scale * q + lowest; what was 16 nats below the maximum is stored as if it were exactly there.
 */
export interface LlamaBaseOptions {
  /** Ids of the tokenizer, if the model's head has more rows than that. */
  readonly vocabulary?: number;
}

const MAGIC = '_logits_';
const HEADER_BYTES = 20;
/** Scale and lowest log-probability, as 16-bit words. */
const PREFIX_WORDS = 4;

export async function readLlamaBase(
  file: ByteFile,
  options: LlamaBaseOptions = {},
): Promise<TokenLabelFile> {
  const layout = await readLayout(file);
  const vocabulary = requireVocabulary(file.name, layout.width, options.vocabulary);
  return {
    vocabulary,
    notes: ['llama.cpp stores labels of the second half of every window only'],
    async *sequences(signal) {
      for (let window = 0; window < layout.windows; window++) {
        throwIfAborted(signal);
        yield await openWindow(file, layout, vocabulary, window);
      }
    },
  };
}

interface Layout {
  /** Tokens per window. */
  readonly length: number;
  readonly width: number;
  readonly windows: number;
  /** First labelled position of a window, and number of labels. */
  readonly first: number;
  readonly rows: number;
  readonly recordBytes: number;
}

async function readLayout(file: ByteFile): Promise<Layout> {
  const fail = (field: string, expected: unknown, found: unknown) =>
    invalidFile(file.name, field, 'not a file of --kl-divergence-base', { expected, found });
  if (file.size < HEADER_BYTES) throw fail('size', `at least ${HEADER_BYTES} bytes`, file.size);
  const header = Buffer.alloc(HEADER_BYTES);
  await file.read(0, header);
  const magic = header.toString('latin1', 0, 8);
  if (magic !== MAGIC) throw fail('magic', MAGIC, header.toString('hex', 0, 8));
  const [length, width, windows] = [8, 12, 16].map((at) => header.readInt32LE(at));
  if (length < 4) throw fail('n_ctx', 'at least 4', length);
  if (windows < 1) throw fail('n_chunk', 'at least 1', windows);
  requireVocabulary(file.name, width, undefined);
  const first = Math.floor(length / 2);
  const rows = length - 1 - first;
  const recordBytes = 2 * (2 * Math.floor((width + 1) / 2) + PREFIX_WORDS);
  const bytes = HEADER_BYTES + 4 * length * windows + windows * rows * recordBytes;
  if (bytes !== file.size) throw fail('size', `${bytes} bytes`, file.size);
  return { length, width, windows, first, rows, recordBytes };
}

async function openWindow(
  file: ByteFile,
  layout: Layout,
  vocabulary: number,
  window: number,
): Promise<TokenSequence> {
  const { length, windows, first, rows, recordBytes } = layout;
  const name = `${file.name}: window ${window}`;
  const tokens = new Int32Array(allocate(4 * length, name));
  await file.read(HEADER_BYTES + 4 * length * window, new Uint8Array(tokens.buffer));
  const begin = HEADER_BYTES + 4 * length * windows + window * rows * recordBytes;
  const labels: DenseRows = {
    kind: 'logits',
    width: vocabulary,
    async read(start, count) {
      const bytes = new Uint8Array(allocate(count * recordBytes, name));
      await file.read(begin + start * recordBytes, bytes);
      const values = new Float32Array(allocate(4 * count * layout.width, name));
      for (let row = 0; row < count; row++) {
        const record = new Uint16Array(bytes.buffer, row * recordBytes, recordBytes / 2);
        const out = values.subarray(row * layout.width, (row + 1) * layout.width);
        unpackRecord(name, start + row, record, out);
      }
      return withoutPadding(values, layout.width, vocabulary);
    },
  };
  return { name, tokens: requireTokens(name, tokens, vocabulary), first, rows, labels };
}

function unpackRecord(name: string, row: number, record: Uint16Array, out: Float32Array): void {
  const [scale, lowest] = new Float32Array(record.slice(0, PREFIX_WORDS).buffer);
  // The highest is at most 0 but for rounding; a record of zeros would be a hole in the file.
  const highest = lowest + scale * 65535;
  if (!(scale >= 0 && lowest < 0 && highest <= 0.01)) {
    throw new SoftpackError('INVALID_FILE', 'label is not one of log-probabilities', {
      field: `${name}, label ${row}`,
      expected: 'log-probabilities up to 0',
      found: `${lowest} to ${highest}`,
    });
  }
  for (let id = 0; id < out.length; id++) out[id] = scale * record[PREFIX_WORDS + id] + lowest;
}
