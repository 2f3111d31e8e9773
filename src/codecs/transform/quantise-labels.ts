import { RANS_SYMBOLS, type Trellis } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import {
  type Costs,
  contextsOf,
  costsOfCounts,
  countIndices,
  learnShifts,
  type QuantiserShape,
  roundToUnits,
} from './quantiser.js';
import type { Histogram } from './tables.js';

/** Rounds of quantising by rates and counting again. */
const ROUNDS = 3;

/** Indices of labels, and what was learnt from them. */
export interface Quantised {
  /** [labels, rank]. */
  readonly indices: Int16Array;
  readonly histograms: readonly Histogram[];
  readonly shifts: Int8Array;
}

/** Quantises labels by rates learnt from themselves. @param values [labels, rank], in units. */
export function quantiseLabels(
  values: Float32Array,
  rank: number,
  trellis: Trellis,
  kernels: Kernels,
): Quantised {
  const indices = new Int16Array(values.length);
  const shape = { rank, trellis };
  if (trellis === 1) {
    roundToUnits(values, 1, indices);
    return { indices, ...countedOf(values, indices, shape) };
  }
  let costs: Costs = new Float64Array(rank * 2 * RANS_SYMBOLS);
  let shifts: Int8Array = new Int8Array(rank);
  let histograms: readonly Histogram[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    kernels.quantise({ values, unit: 1, shifts, costs, trellis, out: indices, threads: 1 });
    ({ histograms, shifts } = countedOf(values, indices, shape));
    costs = costsOfCounts(histograms, trellis);
  }
  return { indices, histograms, shifts };
}

function countedOf(values: Float32Array, indices: Int16Array, shape: QuantiserShape) {
  const contexts = contextsOf(indices, shape);
  const histograms = countIndices(indices, contexts, shape);
  return { histograms, shifts: learnShifts(values, indices, contexts, shape) };
}
