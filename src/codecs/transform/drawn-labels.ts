import type { Kernels } from '../../kernels/types.js';
import type { CodecTraining } from '../descriptor.js';
import { principalComponents } from '../math/eigen.js';
import { trainingRandom } from '../training.js';
import { joinMixes, type Mixes, mixesOf, pickMixes } from './mixes.js';
import { centreLogits } from './project.js';

/** Components found besides those that may be kept: the last ones of an iteration are the slowest to settle. */
const SPARE_COMPONENTS = 16;

/** Labels that a codec is learnt from, centred, and their principal components. */
export interface DrawnLabels {
  readonly count: number;
  /** [count, classes], less the mean. */
  readonly centred: Float32Array;
  readonly mixes: Mixes;
  /** Whether something is mixed into any of their views. */
  readonly mixed: boolean;
  readonly mean: Float32Array;
  /** [rank, classes], orthonormal. */
  readonly components: Float32Array;
  readonly rank: number;
  /** [rank], root mean squares of the coefficients. */
  readonly deviations: Float64Array;
  /** Size of the largest coefficient. */
  readonly largest: number;
  /** Mean square of what lies outside of all components. */
  readonly rest: number;
}

/** @param most components to find. @param shown tell what views show, too. */
export async function drawLabels(
  context: CodecTraining,
  most: number,
  shown = false,
): Promise<DrawnLabels> {
  const { classes, kernels } = context;
  const centre = (logits: Float32Array) => centreLogits(logits, classes, context.tau, kernels);
  const { values: centred, mixes } = await readLabels(context.drawLogits, centre, shown);
  const count = centred.length / classes;
  const mean = subtractMean(centred, classes);
  const covariance = new Float32Array(classes * classes);
  const shape = { rows: classes, inner: count, columns: classes, transposeA: true };
  await kernels.projectAsync({ a: centred, b: centred, out: covariance, ...shape });
  const rank = Math.min(most, classes);
  const found = Math.min(classes, rank + SPARE_COMPONENTS);
  const random = trainingRandom(context);
  const { components } = await principalComponents(covariance, classes, found, kernels, random);
  const kept = components.slice(0, rank * classes);
  const latents = await projected(centred, kept, classes, kernels);
  const squares = new Float64Array(rank);
  for (let i = 0; i < latents.length; i++) squares[i % rank] += latents[i] ** 2;
  const largest = latents.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const deviations = squares.map((sum) => Math.sqrt(sum / count));
  const energy = centred.reduce((sum, value) => sum + value * value, 0) / count;
  const rest = Math.max(
    squares.reduce((left, sum) => left - sum / count, energy),
    0,
  );
  const mixed = mixes.partner.some((partner, i) => partner !== mixes.sample[i]);
  const labels = { count, centred, mixes, mixed, mean };
  return { ...labels, components: kept, rank, deviations, largest, rest };
}

/** Products [rows, rank] of labels [rows, classes] with vectors [rank, classes]. */
export async function projected(
  labels: Float32Array,
  vectors: Float32Array,
  classes: number,
  kernels: Kernels,
  threads = 0,
): Promise<Float32Array> {
  const [rows, columns] = [labels.length / classes, vectors.length / classes];
  const out = new Float32Array(rows * columns);
  const shape = { rows, inner: classes, columns, transposeB: true, threads };
  await kernels.projectAsync({ a: labels, b: vectors, out, ...shape });
  return out;
}

/** The labels of a draw, all of them changed by `adapt`; with `shown` what their views show, too. */
export async function readLabels(
  draw: CodecTraining['scanLogits'],
  adapt: (logits: Float32Array) => Float32Array,
  shown = false,
): Promise<{ readonly values: Float32Array; readonly mixes: Mixes }> {
  const pieces: Float32Array[] = [];
  const mixes: Mixes[] = [];
  await draw((logits, context) => {
    pieces.push(adapt(logits));
    mixes.push(mixesOf(context, shown));
  });
  return { values: joinPieces(pieces), mixes: joinMixes(mixes) };
}

/** One piece after the other. */
export function joinPieces(pieces: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

function subtractMean(labels: Float32Array, classes: number): Float32Array {
  const sums = new Float64Array(classes);
  for (let i = 0; i < labels.length; i++) sums[i % classes] += labels[i];
  const mean = Float32Array.from(sums, (sum) => (sum * classes) / labels.length);
  for (let i = 0; i < labels.length; i++) labels[i] -= mean[i % classes];
  return mean;
}

/** The mixes of the labels that `thinned` leaves. */
export function thinnedMixes({ mixes, count }: DrawnLabels, kept: number): Mixes {
  const places = Uint32Array.from({ length: kept }, (_, i) => Math.floor((i * count) / kept));
  return pickMixes(mixes, places);
}
