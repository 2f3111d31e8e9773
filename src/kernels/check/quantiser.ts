import { apart, floats, typedArray } from '../../core/arrays.js';
import { argument } from '../../core/check.js';
import type { CentreLogitsArgs, DequantiseArgs, QuantiseArgs } from '../quantiser.js';
import { RANS_SYMBOLS } from '../rans.js';
import { given, quotient, size, threads } from './sizes.js';

export type CheckedCentreLogits = CentreLogitsArgs & { readonly threads: number };
export type CheckedQuantise = Required<QuantiseArgs>;
export type CheckedDequantise = Required<DequantiseArgs>;

export function checkCentreLogits(args: CentreLogitsArgs): CheckedCentreLogits {
  const classes = size('classes', given(args).classes, 1);
  const logits = floats('logits', args.logits);
  quotient('logits', logits.length, classes, 'classes');
  const mean = args.mean && floats('mean', args.mean, classes);
  const depth = argument.positive(args.depth, 'depth');
  const out = floats('out', args.out, logits.length);
  apart('out', out, { logits, ...(mean && { mean }) });
  return { logits, classes, depth, ...(mean && { mean }), out, threads: threads(args.threads) };
}

export function checkQuantise(args: QuantiseArgs): CheckedQuantise {
  const { trellis } = given(args);
  argument.that([4, 8].includes(trellis), trellis, 'trellis', '4 or 8');
  const shifts = checkShifts(args.shifts);
  const values = floats('values', args.values);
  quotient('values', values.length, shifts.length, 'components');
  const tables = shifts.length * 2 * RANS_SYMBOLS;
  const costs = typedArray('costs', args.costs, 'Float64Array', tables);
  const unit = argument.positive(args.unit, 'unit');
  const out = typedArray('out', args.out, 'Int16Array', values.length);
  apart('out', out, { values, shifts, costs });
  return { values, unit, shifts, costs, trellis, out, threads: threads(args.threads) };
}

export function checkDequantise(args: DequantiseArgs): CheckedDequantise {
  const { trellis } = given(args);
  argument.that([1, 4, 8].includes(trellis), trellis, 'trellis', '1, 4 or 8');
  const shifts = checkShifts(args.shifts);
  const indices = typedArray('indices', args.indices, 'Int16Array');
  quotient('indices', indices.length, shifts.length, 'components');
  const unit = argument.positive(args.unit, 'unit');
  const out = floats('out', args.out, indices.length);
  apart('out', out, { indices, shifts });
  return { indices, shifts, unit, trellis, out, threads: threads(args.threads) };
}

function checkShifts(value: unknown): Int8Array {
  const shifts = typedArray('shifts', value, 'Int8Array');
  argument.that(shifts.length > 0, 0, 'shifts', 'at least one');
  return shifts;
}
