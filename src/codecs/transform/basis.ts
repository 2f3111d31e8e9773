import { float16ToFloat32, float32ToFloat16 } from '../../core/half.js';
import { entropyBits, rowHistograms } from './tables.js';

/**
 * The mean label and the components as integers: row 0 is the mean, row 1 + j component j, of unit length. An error in
 * a component reaches every label in proportion to its coefficient, so the step of component j is
 * step / (deviation of j * sqrt(labels)): a bit spent here saves as much error as a bit spent on codes.
 */
export interface BasisShape {
  readonly rank: number;
  readonly classes: number;
}

export interface CodedBasis {
  /** [1 + rank, classes]. */
  readonly values: Int16Array;
  /** [1 + rank], float16 bit patterns. */
  readonly steps: Uint16Array;
}

/** Leaves room for what float16 rounds off a step. */
const LARGEST = 32_700;

/** @param mean [classes]. @param components [at least rank, classes]. @param deviations [at least rank], of coefficients. */
export function quantiseBasis(
  mean: Float32Array,
  components: Float32Array,
  deviations: Float64Array,
  { rank, classes }: BasisShape,
  step: number,
  labels: number,
): CodedBasis {
  const rows = 1 + rank;
  const wanted = Float32Array.from({ length: rows }, (_, row) => {
    const deviation = row === 0 ? 1 : deviations[row - 1];
    const values = rowOf(mean, components, row, classes);
    const most = values.reduce((size, value) => Math.max(size, Math.abs(value)), 0);
    // Components that hardly occur may be coarse, but float16 must hold their step, and int16 their values.
    const fine = Math.min(step / (Math.max(deviation, 1e-12) * Math.sqrt(labels)), 1);
    return Math.max(fine, most / LARGEST, 2 ** -14);
  });
  const steps = new Uint16Array(rows);
  float32ToFloat16(wanted, steps);
  const own = new Float32Array(rows);
  float16ToFloat32(steps, own);
  const values = new Int16Array(rows * classes);
  for (let row = 0; row < rows; row++) {
    const from = rowOf(mean, components, row, classes);
    for (let i = 0; i < classes; i++) values[row * classes + i] = Math.round(from[i] / own[row]);
  }
  return { values, steps };
}

function rowOf(mean: Float32Array, components: Float32Array, row: number, classes: number) {
  return row === 0 ? mean : components.subarray((row - 1) * classes, row * classes);
}

export interface Basis {
  readonly mean: Float32Array;
  /** [rank, classes]. */
  readonly components: Float32Array;
}

export function dequantiseBasis(
  { values, steps }: CodedBasis,
  { rank, classes }: BasisShape,
): Basis {
  const own = new Float32Array(1 + rank);
  float16ToFloat32(steps, own);
  const all = new Float32Array(values.length);
  for (let row = 0; row <= rank; row++) {
    for (let i = row * classes; i < (row + 1) * classes; i++) all[i] = values[i] * own[row];
  }
  return { mean: all.subarray(0, classes), components: all.subarray(classes) };
}

/** Bits of each row at its ideal entropy. */
export function basisBits({ values }: CodedBasis, classes: number): Float64Array {
  const histograms = rowHistograms(values, classes);
  // An escaped value takes two bytes besides its symbol.
  return Float64Array.from(histograms, (own) => entropyBits(own) + 16 * own[0]);
}
