import { float16ToFloat32, float32ToFloat16 } from '../../core/half.js';
import type { Kernels } from '../../kernels/types.js';
import { multiplesOf, quantiseSides, type SideValues } from './sides.js';
import { bitsOfCounts, rowHistograms } from './tables.js';

/**
 * The mean label and the components as integers: row 0 is the mean, row 1 + j component j, of unit length. An error in
 * a component reaches every label in proportion to its coefficient, so the step of component j is
 * step / (deviation of j * sqrt(labels)): a bit spent here saves as much error as a bit spent on codes.
 */
export interface BasisShape {
  readonly rank: number;
  readonly classes: number;
}

/** [1 + rank, classes]. */
export interface CodedBasis extends SideValues {
  /** [1 + rank], float16 bit patterns. */
  readonly steps: Uint16Array;
}

export interface Basis {
  readonly mean: Float32Array;
  /** [rank, classes]. */
  readonly components: Float32Array;
}

/** Leaves room for what float16 rounds off a step. */
const LARGEST = 29_900;

export function quantiseBasis(
  basis: Basis,
  deviations: Float64Array,
  shape: BasisShape,
  { step, labels }: { readonly step: number; readonly labels: number },
  kernels: Kernels,
): CodedBasis {
  const { rank, classes } = shape;
  const { steps, own } = stepsOf(basis, deviations, shape, step, labels);
  const multiples = new Float32Array((1 + rank) * classes);
  for (let row = 0; row <= rank; row++) {
    const from = rowOf(basis, row, classes);
    for (let i = 0; i < classes; i++) multiples[i * (1 + rank) + row] = from[i] / own[row];
  }
  return { ...quantiseSides(multiples, 1 + rank, kernels), steps };
}

/** @param deviations [at least rank], of coefficients. */
function stepsOf(
  basis: Basis,
  deviations: Float64Array,
  { rank, classes }: BasisShape,
  step: number,
  labels: number,
): { readonly steps: Uint16Array; readonly own: Float32Array } {
  const wanted = Float32Array.from({ length: 1 + rank }, (_, row) => {
    const deviation = row === 0 ? 1 : deviations[row - 1];
    const values = rowOf(basis, row, classes);
    const most = values.reduce((size, value) => Math.max(size, Math.abs(value)), 0);
    // Components that hardly occur may be coarse, but float16 must hold their step, and int16 their values.
    const fine = Math.min(step / (Math.max(deviation, 1e-12) * Math.sqrt(labels)), 1);
    return Math.max(fine, most / LARGEST, 2 ** -14);
  });
  const steps = new Uint16Array(1 + rank);
  float32ToFloat16(wanted, steps);
  const own = new Float32Array(1 + rank);
  float16ToFloat32(steps, own);
  return { steps, own };
}

function rowOf({ mean, components }: Basis, row: number, classes: number) {
  return row === 0 ? mean : components.subarray((row - 1) * classes, row * classes);
}

export function dequantiseBasis(
  coded: CodedBasis,
  { rank, classes }: BasisShape,
  kernels: Kernels,
): Basis {
  const own = new Float32Array(1 + rank);
  float16ToFloat32(coded.steps, own);
  const multiples = multiplesOf(coded, kernels);
  const all = new Float32Array(multiples.length);
  for (let row = 0; row <= rank; row++) {
    for (let i = 0; i < classes; i++) {
      all[row * classes + i] = multiples[i * (1 + rank) + row] * own[row];
    }
  }
  return { mean: all.subarray(0, classes), components: all.subarray(classes) };
}

/** About the bits of each row: those of values that are rounded, without a search for a trellis. */
export function basisBits(
  basis: Basis,
  deviations: Float64Array,
  shape: BasisShape,
  { step, labels }: { readonly step: number; readonly labels: number },
): Float64Array {
  const { rank, classes } = shape;
  const { own } = stepsOf(basis, deviations, shape, step, labels);
  const values = new Int16Array((1 + rank) * classes);
  for (let row = 0; row <= rank; row++) {
    const from = rowOf(basis, row, classes);
    for (let i = 0; i < classes; i++) values[row * classes + i] = Math.round(from[i] / own[row]);
  }
  return Float64Array.from(rowHistograms(values, classes), bitsOfCounts);
}
