import { STATUSES } from '../abi.js';
import { checkDecodeRans, checkEncodeRans, invalidStream, noFrequency } from '../check/rans.js';
import { type DecodeRansArgs, type EncodeRansArgs, ransCapacity } from '../rans.js';
import { type NativeBackend, nativeFailure } from './backend.js';

export function encodeRans(backend: NativeBackend, args: EncodeRansArgs): Uint8Array {
  const { values, tables, rowTables, columns, trellis, lanes } = checkEncodeRans(args);
  const out = new Uint8Array(ransCapacity(values.length));
  const length = new Uint32Array(1);
  const { frequencies } = tables;
  const status = backend.coding.encodeRans(
    values,
    frequencies,
    rowTables,
    columns,
    trellis,
    lanes,
    out,
    length,
  );
  if (status === STATUSES.invalidArgument) throw noFrequency();
  if (status !== STATUSES.ok) throw nativeFailure(backend, 'encodeRans', status);
  return out.slice(0, length[0]);
}

export function decodeRans(backend: NativeBackend, args: DecodeRansArgs): void {
  const { bytes, tables, rowTables, columns, trellis, out } = checkDecodeRans(args);
  const { entries } = tables;
  const status = backend.coding.decodeRans(bytes, entries, rowTables, columns, trellis, out);
  if (status === STATUSES.invalidCodes) throw invalidStream();
  if (status !== STATUSES.ok) throw nativeFailure(backend, 'decodeRans', status);
}
