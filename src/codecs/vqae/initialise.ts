import type { RandomSequence } from '../../core/random.js';
import type { Kernels } from '../../kernels/types.js';
import { principalComponents } from '../math/eigen.js';
import { kmeans } from '../math/kmeans.js';
import type { VqaeParameters, VqaeShape } from './gradients.js';

export const VQAE_INITIALISATIONS = ['principal', 'random'] as const;

/**
 * Start values of training.
 *
 * - `principal`: P and D from the labels' leading principal components, dealt to the segments so that every
 *   segment carries about the same energy per bit, each segment scaled to unit energy (one codebook serves
 *   all); the codebook by k-means. The "eigenvalue allocation" of Ge et al., Optimized Product Quantization
 *   (CVPR 2013), which the paper does not use but which starts near what it converges to.
 * - `random`: Gaussian P, D = P^T, codewords drawn from the first latents.
 */
export type VqaeInitialisation = (typeof VQAE_INITIALISATIONS)[number];

/** Labels that the initialisation needs at most; enough for hundreds of components. */
export const INITIAL_LABELS = 8192;
/** Components found in closed form; labels lie in a few dozen directions, the rest is started at random. */
const MAX_RANK = 192;
/** Segment vectors per codeword that k-means sees. */
const VECTORS_PER_CODE = 128;

/** Start values for centred `labels` [count, c] whose mean squared norm is m, the number of segments. */
export async function initialise(
  kind: VqaeInitialisation,
  labels: Float32Array,
  shape: VqaeShape,
  kernels: Kernels,
  random: RandomSequence,
): Promise<VqaeParameters> {
  const { classes, dh } = shape;
  const rows = labels.length / classes;
  const { projection, decoder } =
    kind === 'principal'
      ? await principalTransform(labels, rows, shape, kernels, random)
      : randomTransform(shape, random);
  const latent = new Float32Array(rows * dh);
  await kernels.projectAsync({
    a: labels,
    b: projection,
    out: latent,
    rows,
    inner: classes,
    columns: dh,
  });
  const codebook = await codebookOf(latent, shape, kernels, random);
  return { projection, decoder, codebook };
}

async function principalTransform(
  sample: Float32Array,
  rows: number,
  shape: VqaeShape,
  kernels: Kernels,
  random: RandomSequence,
) {
  const { classes, dh, dc, k } = shape;
  const covariance = new Float32Array(classes * classes);
  await kernels.projectAsync({
    a: sample,
    b: sample,
    out: covariance,
    rows: classes,
    inner: rows,
    columns: classes,
    transposeA: true,
  });
  for (let i = 0; i < covariance.length; i++) covariance[i] /= rows;
  // Labels sum to 1: one direction fewer than classes, but of one class.
  const wanted = Math.min(dh, Math.max(1, classes - 1), rows, MAX_RANK);
  const found = await principalComponents(covariance, classes, wanted, kernels, random);
  const slots = dealComponents(found.variances, dh / dc, dc, Math.log2(k));

  const { projection, decoder } = randomTransform(shape, random, 1e-3);
  for (const [segment, members] of slots.entries()) {
    const energy = members.reduce((sum, component) => sum + found.variances[component], 0);
    const gain = Math.sqrt(energy) || 1;
    for (const [slot, component] of members.entries()) {
      const column = segment * dc + slot;
      for (let j = 0; j < classes; j++) {
        const value = found.components[component * classes + j];
        projection[j * dh + column] = value / gain;
        decoder[column * classes + j] = value * gain;
      }
    }
  }
  return { projection, decoder };
}

/**
 * Deals components, largest first, to the segment with the fewest bits so far, each component counted with
 * the bits that reverse water-filling gives it: max(0, log2(variance / level) / 2), all adding up to
 * `bits` a segment. Returns a list of components per segment, at most dc long.
 */
export function dealComponents(
  variances: ArrayLike<number>,
  segments: number,
  dc: number,
  bits: number,
): number[][] {
  const level = waterLevel(variances, segments * bits);
  const members: number[][] = Array.from({ length: segments }, () => []);
  const load = new Float64Array(segments);
  for (let component = 0; component < variances.length; component++) {
    let best = -1;
    for (let segment = 0; segment < segments; segment++) {
      if (members[segment].length === dc) continue;
      if (best < 0 || load[segment] < load[best]) best = segment;
    }
    if (best < 0) break;
    members[best].push(component);
    load[best] += shareOf(variances[component], level) + 1e-9;
  }
  return members;
}

/** Bits of a Gaussian of this variance at distortion `level`. */
function shareOf(variance: number, level: number): number {
  return variance > level ? Math.log2(variance / level) / 2 : 0;
}

/** The distortion at which the variances take `bits` bits in all (reverse water-filling), by bisection. */
function waterLevel(variances: ArrayLike<number>, bits: number): number {
  let [low, high] = [
    Math.log2(Math.max(variances[0], Number.MIN_VALUE)) - 2 * bits - 2,
    Math.log2(Math.max(variances[0], Number.MIN_VALUE)),
  ];
  for (let iteration = 0; iteration < 60; iteration++) {
    const middle = (low + high) / 2;
    let sum = 0;
    for (let i = 0; i < variances.length; i++) sum += shareOf(variances[i], 2 ** middle);
    if (sum > bits) low = middle;
    else high = middle;
  }
  return 2 ** high;
}

function randomTransform({ classes, dh }: VqaeShape, random: RandomSequence, scale = 1) {
  const deviation = scale / Math.sqrt(dh);
  const projection = Float32Array.from({ length: classes * dh }, () => random.normal() * deviation);
  const decoder = new Float32Array(dh * classes);
  for (let i = 0; i < classes; i++) {
    for (let j = 0; j < dh; j++) decoder[j * classes + i] = projection[i * dh + j];
  }
  return { projection, decoder };
}

async function codebookOf(
  latent: Float32Array,
  { dc, k }: VqaeShape,
  kernels: Kernels,
  random: RandomSequence,
): Promise<Float32Array> {
  const total = latent.length / dc;
  const count = Math.min(total, k * VECTORS_PER_CODE);
  const vectors = new Float32Array(count * dc);
  for (const [i, from] of random.distinct(count, total).entries()) {
    vectors.set(latent.subarray(from * dc, (from + 1) * dc), i * dc);
  }
  return kmeans(vectors, dc, k, kernels, random);
}
