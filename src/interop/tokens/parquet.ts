import { setImmediate } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { optionalPackage } from '../../core/optional-package.js';
import { errorMessage, invalidFile, isSoftpackError, throwIfAborted } from '../../errors.js';
import { type ByteFile, requireWithin } from '../../store/byte-store.js';
import { type Decompress, zstdDecompressor } from './zstd.js';

/** What is used of hyparquet. */
interface Hyparquet {
  parquetMetadataAsync(file: AsyncBuffer): Promise<ParquetMetadata>;
  parquetReadObjects(options: {
    readonly file: AsyncBuffer;
    readonly metadata: ParquetMetadata;
    readonly columns: readonly string[];
    readonly rowStart: number;
    readonly rowEnd: number;
    readonly compressors: object;
  }): Promise<readonly ParquetRow[]>;
}

interface AsyncBuffer {
  readonly byteLength: number;
  slice(start: number, end?: number): Promise<ArrayBuffer>;
}

interface ParquetMetadata {
  readonly num_rows: bigint;
  readonly row_groups: readonly {
    readonly num_rows: bigint;
    readonly columns: readonly { readonly meta_data?: ParquetColumn }[];
  }[];
  readonly schema: readonly { readonly name: string }[];
}

interface ParquetColumn {
  readonly codec: string;
  readonly total_uncompressed_size: bigint;
  readonly path_in_schema: readonly string[];
}

export type ParquetRow = Readonly<Record<string, unknown>>;

const PURPOSE = 'Parquet files';
/** Decoded at a time; lists of lists take 8 times as much and more. */
const PIECE_BYTES = 16 * 2 ** 20;
/** A column of a row group is decompressed as a whole. */
const MAX_COLUMN = 2 ** 30;
const MAX_FOOTER = 2 ** 26;

/** Rows of a Parquet file as objects of the named columns, those it has; a piece of a row group in memory at a time. */
export async function* parquetRows(
  file: ByteFile,
  columns: readonly string[],
  signal?: AbortSignal,
): AsyncGenerator<ParquetRow> {
  const parquet = await optionalPackage<Hyparquet>('hyparquet', PURPOSE);
  await requireFooter(file);
  const failed = (cause: unknown) =>
    isSoftpackError(cause)
      ? cause
      : invalidFile(file.name, 'content', 'not a sound Parquet file', {
          found: errorMessage(cause),
          cause,
        });
  const metadata = await parquet
    .parquetMetadataAsync(bufferOf(file, signal))
    .catch((cause: unknown) => {
      throw failed(cause);
    });
  const names = new Set(metadata.schema.map(({ name }) => name));
  const present = columns.filter((name) => names.has(name));
  const compressors = await compressorsFor(metadata, present);
  let start = 0;
  for (const group of piecesOf(file, metadata, present)) {
    for (let done = 0; done < group.rows; done += group.step) {
      throwIfAborted(signal);
      const rowStart = start + done;
      const rowEnd = start + Math.min(group.rows, done + group.step);
      const range = { metadata, columns: present, rowStart, rowEnd, compressors };
      const call = { ended: false };
      const options = { ...range, file: bufferOf(file, signal, call) };
      const rows = await parquet.parquetReadObjects(options).catch((cause: unknown) => {
        call.ended = true;
        throw failed(cause);
      });
      if (rows.length !== rowEnd - rowStart) {
        throw invalidFile(file.name, `rows from ${rowStart} on`, 'rows are missing', {
          expected: rowEnd - rowStart,
          found: rows.length,
        });
      }
      yield* rows;
    }
    start += group.rows;
  }
}

/** The last 8 bytes say how long the description before them is. */
async function requireFooter(file: ByteFile): Promise<void> {
  const end = Buffer.alloc(8);
  if (file.size >= 12) await file.read(file.size - 8, end);
  const length = end.readUInt32LE(0);
  const most = Math.min(MAX_FOOTER, file.size - 12);
  if (end.toString('latin1', 4) === 'PAR1' && length <= most) return;
  throw invalidFile(file.name, 'end', 'not a Parquet file', {
    expected: `PAR1 after a footer of at most ${most} bytes`,
    found: end.toString('hex'),
  });
}

/**
 * @param call that reads. hyparquet begins to decode columns before it has looked at them all. If it refuses one, nobody waits
 *   for the others, whose own errors would end the process: they get no bytes then.
 */
function bufferOf(
  file: ByteFile,
  signal: AbortSignal | undefined,
  call: { readonly ended: boolean } = { ended: false },
): AsyncBuffer {
  return {
    byteLength: file.size,
    async slice(start, end = file.size) {
      const length = Math.max(0, end - start);
      requireWithin(file, start, length);
      const bytes = new Uint8Array(length);
      await file.read(start, bytes, { signal });
      await setImmediate();
      return call.ended ? new Promise<never>(() => {}) : bytes.buffer;
    },
  };
}

/** Rows of every row group, and how many are decoded together. */
function piecesOf(
  file: ByteFile,
  { row_groups: groups }: ParquetMetadata,
  columns: readonly string[],
): readonly { readonly rows: number; readonly step: number }[] {
  return groups.map((group, i) => {
    const rows = Number(group.num_rows);
    const sizes = group.columns
      .filter(({ meta_data: column }) => columns.includes(column?.path_in_schema[0] ?? ''))
      .map(({ meta_data: column }) => Number(column?.total_uncompressed_size ?? 0));
    const wrong = sizes.find((size) => !(size >= 0 && size <= MAX_COLUMN));
    if (!Number.isSafeInteger(rows) || rows < 0 || wrong !== undefined) {
      throw invalidFile(file.name, `row group ${i}`, 'column is too large', {
        expected: `at most ${MAX_COLUMN} bytes`,
        found: wrong ?? rows,
      });
    }
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    return { rows, step: Math.max(1, Math.floor((rows * PIECE_BYTES) / Math.max(1, bytes))) };
  });
}

/** hyparquet has snappy; Zstandard and gzip are decompressed here, where a column needs them. */
async function compressorsFor(
  { row_groups: groups }: ParquetMetadata,
  columns: readonly string[],
): Promise<Readonly<Record<string, Decompress>>> {
  const codecs = new Set(
    groups.flatMap((group) =>
      group.columns
        .filter(({ meta_data: column }) => columns.includes(column?.path_in_schema[0] ?? ''))
        .map(({ meta_data: column }) => column?.codec),
    ),
  );
  const bounded =
    (decompress: Decompress): Decompress =>
    (data, bytes) => {
      if (bytes > MAX_COLUMN) throw new RangeError(`page of ${bytes} bytes`);
      return decompress(data, bytes);
    };
  return {
    GZIP: bounded((data, bytes) => gunzipSync(data, { maxOutputLength: Math.max(1, bytes) })),
    ...(codecs.has('ZSTD') && { ZSTD: bounded(await zstdDecompressor()) }),
  };
}
