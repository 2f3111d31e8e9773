import type { Trellis } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import { quantiseLabels } from './quantise-labels.js';
import { transposed } from './quantiser.js';

/** States of the trellis that basis and base vectors are quantised with. */
const SIDE_STATES = 8;

/** Side data as integers: multiples of a step for each row, along whose rows every column walks its trellis. */
export interface SideValues {
  /** [rows, columns]. */
  readonly values: Int16Array;
  /** [rows], in 128ths of half a step. */
  readonly shifts: Int8Array;
  readonly states: Trellis;
}

/** @param multiples [columns, rows], in steps. */
export function quantiseSides(multiples: Float32Array, rows: number, kernels: Kernels): SideValues {
  const scaled = multiples.map((value) => 2 * value);
  const { indices, shifts } = quantiseLabels(scaled, rows, SIDE_STATES, kernels);
  return { values: transposed(indices, rows), shifts, states: SIDE_STATES };
}

/** The inverse: [columns, rows], in steps. */
export function multiplesOf(
  { values, shifts, states }: SideValues,
  kernels: Kernels,
): Float32Array {
  const out = new Float32Array(values.length);
  const unit = states === 1 ? 1 : 1 / 2;
  kernels.dequantise({ indices: values, shifts, unit, trellis: states, out });
  return out;
}
