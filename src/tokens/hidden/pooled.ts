import {
  type Costs,
  contextsOf,
  costsOfCounts,
  countIndices,
  learnShifts,
  unitOf,
} from '../../codecs/transform/quantiser.js';
import { type Histogram, histogramsOf } from '../../codecs/transform/tables.js';
import { RANS_SYMBOLS } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import { STEP_CLASSES, stepOf } from './config.js';

/** States of the trellis: 8 cost a third more time than 4 and save about 1 % of the bytes. */
export const STATES = 8;
/** Bins of entropy tables: quarters of an octave of a coefficient's deviation in units, from 2^-3 to 2^13. */
export const BINS = 64;
const BINS_PER_OCTAVE = 4;
const LEAST_BIN = -12;
/** Rounds in which costs and shifts follow from the indices of the last one. */
const ROUNDS = 3;

export function unitOfClass(step: number, stepClass: number): number {
  return unitOf(stepOf(step, stepClass), STATES);
}

/** [classes, rank]: coefficients of about the same number of units have a bin, whatever their class. */
export function binsOf(deviations: Float64Array, step: number): Uint8Array {
  const rank = deviations.length;
  return Uint8Array.from({ length: STEP_CLASSES * rank }, (_, i) => {
    const units = deviations[i % rank] / unitOfClass(step, Math.floor(i / rank));
    const bin = Math.floor(BINS_PER_OCTAVE * Math.log2(units)) - LEAST_BIN;
    return Math.min(Math.max(bin, 0), BINS - 1);
  });
}

/** Labels quantised by costs learnt from themselves. */
export interface PooledLabels {
  /** [labels, rank]. */
  readonly indices: Int16Array;
  /** [bins, contexts]. */
  readonly histograms: readonly Histogram[];
  readonly shifts: Int8Array;
}

/** @param values [labels, rank]. @param bins of {@link binsOf} for this step. */
export function quantisePooled(
  values: Float32Array,
  classes: Uint8Array,
  step: number,
  bins: Uint8Array,
  kernels: Kernels,
): PooledLabels {
  const rank = bins.length / STEP_CLASSES;
  const shape = { rank, trellis: STATES } as const;
  const scaled = inUnits(values, classes, step, rank);
  let indices = new Int16Array(values.length);
  let shifts: Int8Array = new Int8Array(rank);
  let histograms: readonly Histogram[] = [];
  let costs = Array.from(
    { length: STEP_CLASSES },
    () => new Float64Array(2 * rank * RANS_SYMBOLS) as Costs,
  );
  for (let round = 0; round < ROUNDS; round++) {
    indices = byClass(scaled, classes, rank, (own, stepClass, out) => {
      const model = { shifts, costs: costs[stepClass], trellis: STATES } as const;
      kernels.quantise({ values: own, unit: 1, out, ...model });
    });
    const contexts = contextsOf(indices, shape);
    histograms = countPooled(indices, classes, bins);
    const pooled = costsOfCounts(histograms, STATES);
    costs = Array.from({ length: STEP_CLASSES }, (_, own) => costsOfClass(pooled, bins, own));
    shifts = learnShifts(scaled, indices, contexts, shape);
  }
  return { indices, histograms, shifts };
}

/** Indices [labels, rank], those of the labels of each class by one call of `quantise`. */
export function byClass(
  values: Float32Array,
  classes: Uint8Array,
  rank: number,
  quantise: (values: Float32Array, stepClass: number, out: Int16Array) => void,
): Int16Array<ArrayBuffer> {
  const indices = new Int16Array(values.length);
  for (const { stepClass, labels } of labelsByClass(classes)) {
    const own = new Float32Array(labels.length * rank);
    for (const [i, label] of labels.entries()) {
      own.set(values.subarray(label * rank, (label + 1) * rank), i * rank);
    }
    const out = new Int16Array(own.length);
    quantise(own, stepClass, out);
    for (const [i, label] of labels.entries()) {
      indices.set(out.subarray(i * rank, (i + 1) * rank), label * rank);
    }
  }
  return indices;
}

/** Labels of each class that occurs, in ascending order. */
export function labelsByClass(classes: Uint8Array) {
  const all = Array.from({ length: STEP_CLASSES }, (_, stepClass) => ({
    stepClass,
    labels: Array.from(classes.keys()).filter((label) => classes[label] === stepClass),
  }));
  return all.filter(({ labels }) => labels.length > 0);
}

/** Values of indices, [labels, rank]. */
export function valuesOf(
  indices: Int16Array,
  classes: Uint8Array,
  step: number,
  shifts: Int8Array,
  kernels: Kernels,
): Float32Array {
  const rank = shifts.length;
  const out = new Float32Array(indices.length);
  for (const [label, own] of classes.entries()) {
    const part = indices.slice(label * rank, (label + 1) * rank);
    const values = out.subarray(label * rank, (label + 1) * rank);
    const unit = unitOfClass(step, own);
    kernels.dequantise({ indices: part, shifts, unit, trellis: STATES, out: values });
  }
  return out;
}

function inUnits(
  values: Float32Array,
  classes: Uint8Array,
  step: number,
  rank: number,
): Float32Array {
  const units = Float64Array.from(classes, (own) => unitOfClass(step, own));
  return values.map((value, i) => value / units[Math.floor(i / rank)]);
}

function countPooled(
  indices: Int16Array,
  classes: Uint8Array,
  bins: Uint8Array,
): readonly Histogram[] {
  const rank = bins.length / STEP_CLASSES;
  const pooled = histogramsOf(2 * BINS);
  for (const { stepClass, labels } of labelsByClass(classes)) {
    const own = new Int16Array(labels.length * rank);
    for (const [i, label] of labels.entries()) {
      own.set(indices.subarray(label * rank, (label + 1) * rank), i * rank);
    }
    const shape = { rank, trellis: STATES } as const;
    const counted = countIndices(own, contextsOf(own, shape), shape);
    for (const [row, histogram] of counted.entries()) {
      const into = pooled[2 * bins[stepClass * rank + (row >> 1)] + (row & 1)];
      for (let i = 0; i < RANS_SYMBOLS; i++) into[i] += histogram[i];
    }
  }
  return pooled;
}

function costsOfClass(pooled: Costs, bins: Uint8Array, stepClass: number): Costs {
  const rank = bins.length / STEP_CLASSES;
  const costs = new Float64Array(2 * rank * RANS_SYMBOLS);
  for (let row = 0; row < 2 * rank; row++) {
    const from = 2 * bins[stepClass * rank + (row >> 1)] + (row & 1);
    const own = pooled.subarray(from * RANS_SYMBOLS, (from + 1) * RANS_SYMBOLS);
    costs.set(own, row * RANS_SYMBOLS);
  }
  return costs;
}
