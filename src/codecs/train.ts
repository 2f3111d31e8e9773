import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
import { type CodecChoice, type SizedChoice, sizedChoice } from './choice.js';
import type { Codec } from './codec.js';
import { principalComponents } from './math/eigen.js';
import { MeanCodec } from './mean.js';
import { NoneCodec } from './none.js';
import { principalCodec } from './pca.js';
import { robustDecomposition } from './robust-pca.js';
import { learnLevels, ScalarCodec } from './scalar.js';
import { TopKCodec, topKForm } from './top-k.js';
import { checkVqConfig, learnSegmentCodebook, VqCodec } from './vq.js';
import { VqaeTrainer, type VqaeTraining, type VqaeTrainingOptions } from './vqae/trainer.js';

export interface CodecTraining {
  readonly classes: number;
  /** How many samples and labels will be stored. */
  readonly samples: number;
  readonly labels: number;
  readonly tau: number;
  /** Floor of the clamp head. */
  readonly eps: number;
  /** Probabilities [count, classes] at `tau` to learn from; asked for once, and only by codecs that learn. */
  readonly draw: () => Promise<Float32Array>;
  /** Shows every label that will be stored, for codecs that need them all. */
  readonly scan: (
    visit: (firstSample: number, probabilities: Float32Array) => void,
  ) => Promise<void>;
  readonly kernels: Kernels;
  readonly training?: VqaeTrainingOptions;
  readonly signal?: AbortSignal;
  /** `error`: of the labels' variance, where it is known. */
  readonly onProgress?: (done: number, total: number, error?: number) => void;
}

export interface TrainedCodec {
  readonly codec: Codec;
  readonly training?: VqaeTraining;
}

/** Makes the codec that was chosen, learnt from the labels where it has anything to learn. */
export async function trainCodec(
  choice: CodecChoice,
  context: CodecTraining,
): Promise<TrainedCodec> {
  const sized = sizedChoice(choice, context.classes, context.labels);
  if (sized.name === 'vqae') return trainVqae(sized, context);
  return { codec: await makeCodec(sized, context) };
}

type Vqae = Extract<SizedChoice, { dh: number }>;

async function trainVqae({ dh, dc, k }: Vqae, context: CodecTraining): Promise<TrainedCodec> {
  const { classes, tau, eps, kernels, signal, onProgress } = context;
  const labels = await context.draw();
  const config = { classes, dh, dc, k, tau, eps };
  const training = await new VqaeTrainer(config, labels, kernels, context.training).train({
    signal,
    onProgress: ({ step, steps, losses }) => onProgress?.(step, steps, losses.reconstruction),
  });
  return { codec: training.codec, training };
}

async function makeCodec(
  choice: Exclude<SizedChoice, Vqae>,
  context: CodecTraining,
): Promise<Codec> {
  const { classes, tau, eps, kernels } = context;
  switch (choice.name) {
    case 'none':
      return new NoneCodec({ classes, tau, store: choice.store ?? 'logits' });
    case 'topk':
      return new TopKCodec({ classes, tau, k: choice.k, ...topKForm(choice) });
    case 'pca':
      return trainPrincipal(choice.k, context);
    case 'rpca':
      return trainRobust(choice.k, context);
    case 'scalar': {
      const values = thinned(await context.draw(), LEVEL_VALUES);
      const { levels } = choice;
      return new ScalarCodec({ classes, tau, levels, eps }, learnLevels(values, levels), kernels);
    }
    case 'vq': {
      const config = checkVqConfig({ classes, tau, dc: choice.dc, k: choice.k, eps });
      const random = randomOf(context);
      const codebook = await learnSegmentCodebook(await context.draw(), config, kernels, random);
      return new VqCodec(config, codebook, kernels);
    }
    case 'mean':
      return averageGroups(choice.groups, context);
  }
}

/** Values that the levels of scalar quantisation are learnt from. */
const LEVEL_VALUES = 2 ** 20;
const SPARE_COMPONENTS = 16;
/** Labels that robust PCA decomposes: an iteration takes 2 labels classes^2 flops. */
const ROBUST_LABELS = 4096;

async function trainPrincipal(k: number, context: CodecTraining): Promise<Codec> {
  const { classes, tau, eps, kernels } = context;
  const labels = await context.draw();
  const rows = enough('pca', labels, classes, k);
  const bias = centre(labels, classes);
  const covariance = new Float32Array(classes * classes);
  const shape = { rows: classes, inner: rows, columns: classes, transposeA: true };
  await kernels.projectAsync({ a: labels, b: labels, out: covariance, ...shape });
  const random = randomOf(context);
  // Iterating on some more than asked for: the last of them are the slowest to settle.
  const rank = Math.min(classes, rows, k + SPARE_COMPONENTS);
  const found = await principalComponents(covariance, classes, rank, kernels, random);
  const deviation = Math.sqrt(found.variances[0] / rows);
  const config = { classes, tau, k, eps };
  return principalCodec('pca', config, { ...found, bias, deviation }, kernels);
}

async function trainRobust(k: number, context: CodecTraining): Promise<Codec> {
  const { classes, tau, eps, kernels, signal, onProgress } = context;
  const all = await context.draw();
  enough('rpca', all, classes, k);
  const bias = centre(all, classes);
  const labels = thinnedRows(all, classes, ROBUST_LABELS);
  const rank = Math.min(classes, Math.max(2 * k, k + SPARE_COMPONENTS));
  const found = await robustDecomposition(
    labels,
    classes,
    {
      rank,
      onProgress: (done, total) => {
        throwIfAborted(signal);
        onProgress?.(done, total);
      },
    },
    kernels,
    randomOf(context),
  );
  const deviation = found.singularValues[0] / Math.sqrt(labels.length / classes);
  const { components } = found;
  const threshold = outlierThreshold(found.sparse);
  const config = { classes, tau, k, eps };
  return principalCodec('rpca', config, { components, bias, deviation, threshold }, kernels);
}

/** Huber's: 1.345 standard deviations, told from the median of what the low-rank part leaves over. */
function outlierThreshold(sparse: Float32Array): number {
  const sizes = thinned(sparse, LEVEL_VALUES).map(Math.abs).sort();
  const median = sizes[sizes.length >> 1];
  // Where most is exactly zero, the mean of what is not tells the scale.
  const scale = median > 0 ? median / 0.6745 : sizes.reduce((sum, x) => sum + x, 0) / sizes.length;
  return 1.345 * scale;
}

async function averageGroups(
  groups: Uint32Array | undefined,
  { classes, samples, tau, scan }: CodecTraining,
): Promise<Codec> {
  const group = groups ?? Uint32Array.from({ length: samples }, (_, i) => i);
  if (group.length !== samples) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not one group a sample', {
      field: 'codec.groups',
      expected: samples,
      found: group.length,
    });
  }
  const count = group.reduce((most, g) => Math.max(most, g), 0) + 1;
  const sums = new Float64Array(count * classes);
  const members = new Float64Array(count);
  await scan((first, labels) => {
    for (let i = 0; i * classes < labels.length; i++) {
      const at = group[first + i] * classes;
      members[group[first + i]]++;
      for (let j = 0; j < classes; j++) sums[at + j] += labels[i * classes + j];
    }
  });
  const means = Float32Array.from(
    sums,
    (sum, i) => (sum * classes) / Math.max(1, members[Math.floor(i / classes)]),
  );
  return new MeanCodec({ classes, tau, groups: count, samples }, means, group);
}

function randomOf({ training }: CodecTraining): RandomSequence {
  return new RandomSequence(training?.seed ?? 0, STREAM.codec);
}

function enough(name: string, labels: Float32Array, classes: number, k: number): number {
  const rows = labels.length / classes;
  if (rows > k) return rows;
  throw new SoftpackError('TOO_FEW_LABELS', `cannot find ${k} components for ${name}`, {
    field: 'labels',
    expected: `at least ${k + 1}`,
    found: rows,
  });
}

/** Subtracts the mean row, and returns it. */
function centre(labels: Float32Array, classes: number): Float32Array {
  const sums = new Float64Array(classes);
  for (let i = 0; i < labels.length; i++) sums[i % classes] += labels[i];
  const mean = Float32Array.from(sums, (sum) => (sum * classes) / labels.length);
  for (let i = 0; i < labels.length; i++) labels[i] -= mean[i % classes];
  return mean;
}

/** At most `limit` of the values, evenly spaced, in an array of their own. */
function thinned(values: Float32Array, limit: number): Float32Array {
  return thinnedRows(values, 1, limit);
}

function thinnedRows(values: Float32Array, width: number, limit: number): Float32Array {
  const rows = values.length / width;
  const count = Math.min(rows, limit);
  const out = new Float32Array(count * width);
  for (let i = 0; i < count; i++) {
    const from = Math.floor((i * rows) / count) * width;
    out.set(values.subarray(from, from + width), i * width);
  }
  return out;
}
