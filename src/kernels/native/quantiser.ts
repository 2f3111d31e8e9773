import { STATUSES } from '../abi.js';
import { checkCentreLogits, checkDequantise, checkQuantise } from '../check/quantiser.js';
import type { CentreLogitsArgs, DequantiseArgs, QuantiseArgs } from '../quantiser.js';
import { type NativeBackend, nativeFailure } from './backend.js';

export function centreLogits(backend: NativeBackend, args: CentreLogitsArgs): void {
  const { logits, mean = null, classes, depth, out, threads } = checkCentreLogits(args);
  const status = backend.coding.centreLogits(logits, mean, classes, depth, out, threads);
  if (status !== STATUSES.ok) throw nativeFailure(backend, 'centreLogits', status);
}

export function quantise(backend: NativeBackend, args: QuantiseArgs): void {
  const { values, shifts, costs, unit, trellis, out, threads } = checkQuantise(args);
  const status = backend.coding.quantise(values, shifts, costs, unit, trellis, out, threads);
  if (status !== STATUSES.ok) throw nativeFailure(backend, 'quantise', status);
}

export function dequantise(backend: NativeBackend, args: DequantiseArgs): void {
  const { indices, shifts, unit, trellis, out, threads } = checkDequantise(args);
  const status = backend.coding.dequantise(indices, shifts, unit, trellis, out, threads);
  if (status !== STATUSES.ok) throw nativeFailure(backend, 'dequantise', status);
}
