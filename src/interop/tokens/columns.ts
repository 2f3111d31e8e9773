import { invalidFile } from '../../errors.js';

/** An integer of a column; what does not fit 32 bits becomes -1, which is no id. */
export function smallInteger(value: unknown): number {
  const number = typeof value === 'bigint' ? Number(value) : value;
  return typeof number === 'number' && number === (number | 0) ? number : -1;
}

/** A list as JSON and Parquet readers give it. */
export function listOf(name: string, field: string, value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
    return Array.from<unknown>(value as Uint8Array);
  }
  throw invalidFile(name, field, 'not a list', { expected: 'a list', found: value ?? 'nothing' });
}
