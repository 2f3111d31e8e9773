import { apart, typedArray } from '../../core/arrays.js';
import { argument } from '../../core/check.js';
import { SoftpackError } from '../../errors.js';
import {
  type DecodeRansArgs,
  type EncodeRansArgs,
  RANS_MAX_LANES,
  type RansModel,
  RansTables,
} from '../rans.js';
import { given, size } from './sizes.js';

export interface CheckedEncodeRans extends Required<EncodeRansArgs> {
  readonly rows: number;
}

export interface CheckedDecodeRans extends DecodeRansArgs {
  readonly rows: number;
}

export function checkEncodeRans(args: EncodeRansArgs): CheckedEncodeRans {
  const model = checkModel(given(args));
  const columns = size('columns', args.columns);
  const values = typedArray('values', args.values, 'Int16Array', model.rows * columns);
  const lanes = args.lanes ?? 0;
  if (lanes !== 0) argument.powerOfTwo(lanes, 'lanes', 1, RANS_MAX_LANES);
  return { ...model, columns, values, lanes };
}

export function checkDecodeRans(args: DecodeRansArgs): CheckedDecodeRans {
  const model = checkModel(given(args));
  const bytes = typedArray('bytes', args.bytes, 'Uint8Array');
  const columns = size('columns', args.columns);
  const out = typedArray('out', args.out, 'Int16Array', model.rows * columns);
  apart('out', out, { bytes });
  return { ...model, bytes, columns, out };
}

function checkModel({ tables, rowTables, trellis }: RansModel) {
  argument.that(tables instanceof RansTables, tables, 'tables', 'RansTables');
  argument.that([1, 4, 8].includes(trellis), trellis, 'trellis', '1, 4 or 8');
  const own = typedArray('rowTables', rowTables, 'Uint16Array');
  const contexts = trellis === 1 ? 1 : 2;
  argument.that(own.length % contexts === 0, own.length, 'rowTables', 'two tables per row');
  const wrong = own.find((table) => table >= tables.count);
  if (wrong !== undefined) argument.fail('rowTables', 'no such table', `< ${tables.count}`, wrong);
  return { tables, rowTables: own, trellis, rows: own.length / contexts };
}

/** The error of a value that no table has room for. */
export function noFrequency(): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'a value whose table has no frequency for it', {
    field: 'values',
    expected: 'a frequency for each value, or for escapes',
  });
}

/** The error of bytes that no encoder writes. */
export function invalidStream(): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'damaged codes: not a stream of these tables', {
    field: 'codes',
  });
}
