import { allocate } from '../../core/allocate.js';
import { RANS_SLOTS, type RansModel, type Trellis } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import { invalidTensor } from '../tensors.js';
import { contextsOf, countIndices, transposed } from './quantiser.js';
import { type Histogram, learnTables, readTables, rowHistograms } from './tables.js';

/**
 * Entropy tables and which row has which, as bytes: the length of the tables (u16, little endian), the tables
 * (tables.ts), and the index of each row's table (u8).
 */
export interface RowModel {
  readonly model: RansModel;
  readonly bytes: Uint8Array;
}

/** Tables for rows with these counts; see {@link learnTables}. */
export function learnRowModel(
  histograms: readonly Histogram[],
  repeats: number,
  trellis: RansModel['trellis'],
): RowModel {
  const { tables, indices, bytes } = learnTables(histograms, repeats);
  const all = new Uint8Array(2 + bytes.length + indices.length);
  new DataView(all.buffer).setUint16(0, bytes.length, true);
  all.set(bytes, 2);
  all.set(indices, 2 + bytes.length);
  return { model: { tables, rowTables: indices, trellis }, bytes: all };
}

/** Reads the tables of `rows` rows, two for each with a trellis, from the beginning of a tensor, and how many bytes they take. */
export function readRowModel(
  name: string,
  bytes: Uint8Array,
  rows: number,
  trellis: RansModel['trellis'],
): { readonly model: RansModel; readonly length: number } {
  const least = 2 + (trellis === 1 ? rows : 2 * rows);
  const tableBytes = bytes.length < 2 ? 0 : bytes[0] + 256 * bytes[1];
  const length = least + tableBytes;
  if (bytes.length < length) {
    throw invalidTensor(name, 'too short', `at least ${length} bytes`, bytes.length);
  }
  const tables = readTables(name, bytes.subarray(2, 2 + tableBytes));
  const rowTables = Uint16Array.from(bytes.subarray(2 + tableBytes, length));
  const wrong = rowTables.find((table) => table >= tables.count);
  if (wrong !== undefined) {
    throw invalidTensor(name, 'no such entropy table', `less than ${tables.count}`, wrong);
  }
  return { model: { tables, rowTables, trellis }, length };
}

/** A matrix of integers [rows, columns] with the tables of its rows: a row model, then one rANS stream. */
export function encodeMatrix(
  values: Int16Array,
  columns: number,
  kernels: Kernels,
  trellis: Trellis = 1,
): Uint8Array {
  const { model, bytes } = matrixModel(values, columns, trellis);
  const stream = kernels.encodeRans({ ...model, values, columns });
  const all = new Uint8Array(bytes.length + stream.length);
  all.set(bytes);
  all.set(stream, bytes.length);
  return all;
}

/** Tables for the rows of a matrix, two for each with a trellis. */
export function matrixModel(values: Int16Array, columns: number, trellis: Trellis): RowModel {
  if (trellis === 1) return learnRowModel(rowHistograms(values, columns), 1, trellis);
  const rank = values.length / columns;
  const indices = transposed(values, columns);
  const shape = { rank, trellis };
  return learnRowModel(countIndices(indices, contextsOf(indices, shape), shape), 1, trellis);
}

/** The inverse; `INVALID_FILE` naming the tensor if the bytes are no such matrix. */
export function decodeMatrix(
  name: string,
  bytes: Uint8Array,
  rows: number,
  columns: number,
  kernels: Kernels,
  trellis: Trellis = 1,
): Int16Array {
  const { model, length } = readRowModel(name, bytes, rows, trellis);
  // Escapes have a slot in every table, so that no value is free: a few bytes cannot ask for much memory.
  const most = Math.floor((8 * bytes.length) / Math.log2(RANS_SLOTS / (RANS_SLOTS - 1)));
  if (rows * columns > most) {
    throw invalidTensor(name, 'too short', `${rows} x ${columns} values`, `${bytes.length} bytes`);
  }
  const out = new Int16Array(allocate(2 * rows * columns, `codec tensor ${name}`));
  try {
    kernels.decodeRans({ ...model, bytes: bytes.subarray(length), columns, out });
  } catch (cause) {
    throw invalidTensor(name, 'damaged', 'a stream of its tables', String(cause));
  }
  return out;
}
