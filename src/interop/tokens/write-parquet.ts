import { optionalPackage } from '../../core/optional-package.js';
import { syncFile } from '../../store/sync-file.js';
import type { NewFolder } from '../exports/folder.js';

/** What is used of hyparquet-writer. */
interface HyparquetWriter {
  readonly ByteWriter: new () => ByteWriter;
  parquetWriteRows(options: {
    readonly writer: ByteWriter;
    readonly rows: AsyncIterable<object>;
    readonly columns: readonly { readonly name: string }[];
    readonly schema: readonly SchemaElement[];
    readonly rowGroupSize: number;
  }): Promise<void>;
}

interface ByteWriter {
  index: number;
  getBytes(): Uint8Array;
  flush?: () => Promise<void>;
  finish(): unknown;
}

export interface SchemaElement {
  readonly name: string;
  readonly type?: 'INT32' | 'INT64';
  readonly converted_type?: 'LIST' | 'UINT_8' | 'UINT_64';
  readonly num_children?: number;
  readonly repetition_type?: 'OPTIONAL' | 'REPEATED';
}

/** The elements of a column of lists, or of lists of lists, as pyarrow names them. */
export function listColumn(
  name: string,
  depth: number,
  element: Pick<SchemaElement, 'type' | 'converted_type'>,
): readonly SchemaElement[] {
  const levels = Array.from({ length: depth }, (_, i): readonly SchemaElement[] => [
    {
      name: i === 0 ? name : 'element',
      converted_type: 'LIST',
      num_children: 1,
      repetition_type: 'OPTIONAL',
    },
    { name: 'list', num_children: 1, repetition_type: 'REPEATED' },
  ]);
  return [...levels.flat(), { name: 'element', repetition_type: 'OPTIONAL', ...element }];
}

/** Writes rows to a new file of the folder, a row group in memory at a time. */
export async function writeParquet(
  folder: NewFolder,
  name: string,
  columns: readonly (readonly SchemaElement[])[],
  rows: AsyncIterable<object>,
  rowGroupSize: number,
): Promise<void> {
  const parquet = await optionalPackage<HyparquetWriter>('hyparquet-writer', 'Parquet files');
  const file = await folder.open(name);
  try {
    let at = 0;
    const writer = new parquet.ByteWriter();
    const flush = async () => {
      const bytes = writer.getBytes().slice();
      writer.index = 0;
      await folder.append(file, bytes, at);
      at += bytes.length;
    };
    writer.flush = flush;
    writer.finish = flush;
    await parquet.parquetWriteRows({
      ...{ writer, rows, rowGroupSize },
      columns: columns.map(([{ name: column }]) => ({ name: column })),
      schema: [{ name: 'schema', num_children: columns.length }, ...columns.flat()],
    });
    await syncFile(file);
  } finally {
    await file.close();
  }
}
