import { RANS_SYMBOLS, type Trellis } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import { addPredictions } from './base-vectors.js';
import { basisBits, quantiseBasis } from './basis.js';
import type { Mixes } from './mixes.js';
import {
  baseStep,
  type Costs,
  contextsOf,
  costsOfCounts,
  countIndices,
  learnShifts,
  type QuantiserShape,
  roundToUnits,
  slopeOf,
  transposed,
  unitOf,
} from './quantiser.js';
import { entropyBits, type Histogram, histogramsOf, symbolOf } from './tables.js';

/** Rounds of quantising by rates and counting again. */
const ROUNDS = 3;

/** Labels that a step is tried on. */
export interface PilotLabels {
  /** [count, rank]: coefficients of all components that may be kept. */
  readonly latents: Float32Array;
  readonly mixes: Mixes;
  readonly rank: number;
}

/** How labels are predicted. */
export interface Candidate {
  /** [count, rank]: what a network leaves over of the pilot's labels; absent without one. */
  readonly rest?: Float32Array;
  /** Bits of the network, without and for each component. */
  readonly bits?: { readonly fixed: number; readonly each: number };
  /** [samples, rank], of what is left over; rounded when a step is tried. */
  readonly bases?: Float64Array;
}

/** What is known of all labels that will be stored. */
export interface PilotSet {
  readonly classes: number;
  readonly labels: number;
  readonly mean: Float32Array;
  /** [rank, classes], orthonormal. */
  readonly components: Float32Array;
  /** [rank], root mean squares of the coefficients. */
  readonly deviations: Float64Array;
  readonly kernels: Kernels;
}

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

export interface Trial {
  readonly step: number;
  /** Components worth keeping. */
  readonly rank: number;
  readonly candidate: Candidate;
  /** Bits of all labels and side data together. */
  readonly bits: number;
  /** Mean squared error of a label, without what lies outside of all components. */
  readonly error: number;
  /** Error of all labels, and what its bits cost in error. */
  readonly cost: number;
}

/**
 * Estimates size and error of a codec with this step, for as many components as are worth their bits.
 *
 * @param kept number of components, if it is given.
 */
export function tryStep(
  set: PilotSet,
  { latents, mixes, rank }: PilotLabels,
  step: number,
  trellis: Trellis,
  candidate: Candidate,
  kept?: number,
): Trial {
  const count = latents.length / rank;
  const { rest = latents, bits: own = { fixed: 0, each: 0 } } = candidate;
  const bases = candidate.bases && roundedBases(candidate.bases, step);
  const values = rest.slice();
  if (bases !== undefined) addPredictions(values, bases, rank, mixes, -1);
  const energy = meanSquares(latents, rank);
  const unit = unitOf(step, trellis);
  const scaled = values.map((value) => value / unit);
  const { indices, histograms, shifts } = quantiseLabels(scaled, rank, trellis, set.kernels);
  const errors = errorsOf(scaled, indices, shifts, trellis, set.kernels);
  const { classes, mean, components, deviations, labels } = set;
  const shape = { rank, classes };
  const side = basisBits(quantiseBasis(mean, components, deviations, shape, step, labels), classes);
  const contexts = histograms.length / rank;
  const slope = slopeOf(trellis) * unit * unit;
  let [bits, error] = [side[0] + own.fixed, energy.reduce((sum, own) => sum + own, 0)];
  let best = { rank: 1, bits: 0, error: 0, cost: Number.POSITIVE_INFINITY };
  const baseBits = bases === undefined ? undefined : bitsOfBases(bases, rank, step);
  for (let j = 0; j < rank; j++) {
    for (let c = 0; c < contexts; c++) {
      bits += (entropyBits(histograms[contexts * j + c]) * labels) / count;
    }
    bits += side[1 + j] + own.each + (baseBits?.[j] ?? 0);
    error += errors[j] * unit * unit - energy[j];
    const cost = labels * error + slope * bits;
    const counts = kept === undefined ? cost < best.cost : j + 1 === kept;
    if (counts) best = { rank: j + 1, bits, error, cost };
  }
  return { ...best, step, candidate };
}

function roundedBases(exact: Float64Array, step: number): Float32Array {
  const unit = baseStep(step);
  const values = Float32Array.from(exact);
  const indices = new Int16Array(values.length);
  roundToUnits(values, 1 / unit, indices);
  return Float32Array.from(indices, (index) => index * unit);
}

function bitsOfBases(bases: Float32Array, rank: number, step: number): Float64Array {
  const histograms = histogramsOf(rank);
  for (let i = 0; i < bases.length; i++) {
    histograms[i % rank][symbolOf(Math.round(bases[i] / baseStep(step)))]++;
  }
  return Float64Array.from(histograms, (own) => entropyBits(own) + 16 * own[0]);
}

function meanSquares(latents: Float32Array, rank: number): Float64Array {
  const sums = new Float64Array(rank);
  for (let i = 0; i < latents.length; i++) sums[i % rank] += latents[i] ** 2;
  return sums.map((sum) => (sum * rank) / latents.length);
}

function errorsOf(
  values: Float32Array,
  indices: Int16Array,
  shifts: Int8Array,
  trellis: Trellis,
  kernels: Kernels,
): Float64Array {
  const decoded = new Float32Array(values.length);
  const rank = shifts.length;
  const turned = transposed(indices, rank);
  kernels.dequantise({ indices: turned, shifts, unit: 1, trellis, out: decoded, threads: 1 });
  for (let i = 0; i < decoded.length; i++) decoded[i] -= values[i];
  return meanSquares(decoded, rank);
}
