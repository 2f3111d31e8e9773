import { setImmediate } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import { Augmenter } from '../augment/augmenter.js';
import type { Normalisation } from '../augment/replay.js';
import { below, CounterRng, STREAM, unit } from '../core/philox.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import type { DifferentiableNetwork, NormStatistics } from '../nn/network.js';
import { AdamW } from '../training/optimiser.js';
import type { CropView } from './crop-view.js';
import { holdTo, type Losses, lossGradient, normTerm, type Objective, release } from './losses.js';
import { type RecoverRecipe, smallestCrop } from './recipe.js';

/** Adam's, as published: a short memory of the direction, as every view is another. */
const ADAM = { beta1: 0.5, beta2: 0.9, epsilon: 1e-8 } as const;

export interface RecoverContext {
  readonly network: DifferentiableNetwork;
  /** Height and width of the images. */
  readonly size: readonly [number, number];
  readonly normalisation: Normalisation;
  readonly recipe: RecoverRecipe;
  readonly seed: number;
  readonly signal?: AbortSignal;
  readonly onIteration?: (progress: Losses & { readonly iteration: number }) => void;
}

export interface RecoverJob {
  /** Number of the job, from which its views are drawn. */
  readonly job: number;
  readonly images: readonly RecoverImage[];
  /** Equal consecutive groups of the images, which are held to statistics of their own. */
  readonly groups: number;
  /** Of each tap, [groups, channels]. */
  readonly statistics: readonly NormStatistics[];
}

export interface RecoverImage {
  readonly target: number;
  /** Within its class. */
  readonly index: number;
}

export interface Recovered {
  /** Normalised, [images, height, width, 3]: the last iterate. */
  readonly images: Float32Array;
  readonly first: Losses;
  readonly last: Losses;
  /** The batch-norm term of the whole images: of noise, and of the last iterate. */
  readonly wholeBn: readonly [number, number];
}

/** Optimises images from noise; a pure function of context and job. */
export async function recover(context: RecoverContext, job: RecoverJob): Promise<Recovered> {
  const { network, recipe, signal, onIteration, size } = context;
  const held = holdTo(job.statistics, job.groups);
  const targets = job.images.map(({ target }) => target);
  const objective = { network, targets, held, ...recipe };
  const noise = tf.tensor4d(noiseOf(context, job), [targets.length, ...size, 3]);
  const images = tf.variable(noise);
  noise.dispose();
  const optimiser = new AdamW([images], { learningRate: recipe.lr, ...ADAM });
  let first: Losses | undefined;
  let last: Losses = { crossEntropy: Number.NaN, bn: Number.NaN };
  try {
    const before = normTerm(objective, images);
    for (let t = 0; t < recipe.iterations; t++) {
      throwIfAborted(signal);
      optimiser.learningRate = (recipe.lr / 2) * (1 + Math.cos((Math.PI * t) / recipe.iterations));
      const losses = step(context, objective, images, optimiser, viewOf(context, job.job, t));
      last = requireFinite(losses, job.job, t);
      first ??= last;
      onIteration?.({ ...last, iteration: t });
      // Lets signals of the system be heard.
      if (t % 16 === 0) await setImmediate();
    }
    const wholeBn = [before, normTerm(objective, images)] as const;
    const values = Float32Array.from(await images.data());
    return { images: values, first: first ?? last, last, wholeBn };
  } finally {
    images.dispose();
    optimiser.dispose();
    release(held);
  }
}

function step(
  { normalisation }: RecoverContext,
  objective: Objective,
  images: tf.Variable<tf.Rank.R4>,
  optimiser: AdamW,
  view: CropView,
): Losses {
  let losses: Losses = { crossEntropy: Number.NaN, bn: Number.NaN };
  tf.tidy(() => {
    const { gradient, ...values } = lossGradient(objective, images, view);
    losses = values;
    optimiser.step({ [images.name]: gradient });
    const [low, high] = bounds(normalisation);
    images.assign(images.maximum(low).minimum<tf.Tensor4D>(high));
  });
  return losses;
}

/** The view of iteration t: one for the whole batch, as published. */
export function viewOf(
  { size, recipe, seed }: Pick<RecoverContext, 'size' | 'recipe' | 'seed'>,
  job: number,
  t: number,
): CropView {
  const crop = { scale: [smallestCrop(recipe, t), 1], ratio: [3 / 4, 4 / 3] } as const;
  const augmenter = new Augmenter(
    { generator: 'philox4x32-10', seed, size, crop, flip: 0.5, mix: { kind: 'none' } },
    { count: job + 1, sizeOf: () => size },
  );
  const [y, x] = new CounterRng(seed).words(job, t, STREAM.synthesisShift, 0);
  return {
    crop: augmenter.cropOf(t, job, size),
    flip: augmenter.flip(t, job) === 1,
    shift: [below(y, recipe.jitter + 1), below(x, recipe.jitter + 1)],
  };
}

/** Normal values by Box and Muller, a function of seed, class and index alone. */
function noiseOf({ size, seed }: RecoverContext, { images }: RecoverJob): Float32Array {
  const stride = size[0] * size[1] * 3;
  const values = new Float32Array(images.length * stride);
  const rng = new CounterRng(seed);
  for (const [i, { target, index }] of images.entries()) {
    for (let at = 0; at < stride; at += 2) {
      // Epoch 0 of this stream orders images.
      const [a, b] = rng.words(target, index + 1, STREAM.synthesis, at);
      const radius = Math.sqrt(-2 * Math.log(1 - unit(a)));
      values[i * stride + at] = radius * Math.cos(2 * Math.PI * unit(b));
      if (at + 1 < stride) values[i * stride + at + 1] = radius * Math.sin(2 * Math.PI * unit(b));
    }
  }
  return values;
}

/** The least and greatest value of each channel, [3]. */
function bounds({ mean, std }: Normalisation): readonly [tf.Tensor1D, tf.Tensor1D] {
  const at = (pixel: number) => tf.tensor1d(mean.map((m, c) => (pixel - m) / std[c]));
  return [at(0), at(1)];
}

function requireFinite(losses: Losses, job: number, iteration: number): Losses {
  if (Number.isFinite(losses.crossEntropy) && Number.isFinite(losses.bn)) return losses;
  throw new SoftpackError('NON_FINITE', 'the loss is not finite; take a smaller learning rate', {
    field: `job ${job}, iteration ${iteration}`,
    found: `cross-entropy ${losses.crossEntropy}, batch norms ${losses.bn}`,
  });
}
