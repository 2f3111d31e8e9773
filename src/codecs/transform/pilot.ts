import type { Trellis } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import { addPredictions } from './base-vectors.js';
import { basisBits } from './basis.js';
import { type FittedBases, tryBases } from './coded-bases.js';
import type { Mixes } from './mixes.js';
import { quantiseLabels } from './quantise-labels.js';
import { slopeOf, transposed, unitOf } from './quantiser.js';
import { entropyBits } from './tables.js';

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
  /** Of what is left over; rounded when a step is tried. */
  readonly bases?: FittedBases;
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
  const { classes, mean, components, deviations, labels } = set;
  const shape = { rank, classes };
  const bases = candidate.bases && tryBases(candidate.bases, components, shape, step);
  const values = rest.slice();
  if (bases !== undefined) addPredictions(values, bases.vectors, rank, mixes, -1);
  const energy = meanSquares(latents, rank);
  const unit = unitOf(step, trellis);
  const scaled = values.map((value) => value / unit);
  const { indices, histograms, shifts } = quantiseLabels(scaled, rank, trellis, set.kernels);
  const errors = errorsOf(scaled, indices, shifts, trellis, set.kernels);
  const side = basisBits({ mean, components }, deviations, shape, { step, labels });
  const contexts = histograms.length / rank;
  const slope = slopeOf(trellis) * unit * unit;
  const fixed = side[0] + own.fixed + (bases?.fixed ?? 0);
  let [bits, error] = [fixed, energy.reduce((sum, own) => sum + own, 0)];
  let best = { rank: 1, bits: 0, error: 0, cost: Number.POSITIVE_INFINITY };
  for (let j = 0; j < rank; j++) {
    for (let c = 0; c < contexts; c++) {
      bits += (entropyBits(histograms[contexts * j + c]) * labels) / count;
    }
    bits += side[1 + j] + own.each + (bases?.bits[j] ?? 0);
    error += errors[j] * unit * unit - energy[j];
    const cost = labels * error + slope * bits;
    const counts = kept === undefined ? cost < best.cost : j + 1 === kept;
    if (counts) best = { rank: j + 1, bits, error, cost };
  }
  return { ...best, step, candidate };
}

/** [rank]. */
export function meanSquares(latents: Float32Array, rank: number): Float64Array {
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
