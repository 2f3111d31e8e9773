import { setImmediate } from 'node:timers/promises';
import * as tf from '@tensorflow/tfjs';
import { Augmenter } from '../augment/augmenter.js';
import type { Normalisation } from '../augment/replay.js';
import { below, CounterRng, STREAM, unit } from '../core/philox.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import type { ConvNet } from '../nn/convnet.js';
import { applyView, type CropView } from './crop-view.js';
import { normLoss } from './norm-loss.js';
import { type RecoverRecipe, smallestCrop } from './recipe.js';

/** Adam's, as published: a short memory of the direction, as every view is another. */
const [BETA1, BETA2, EPSILON] = [0.5, 0.9, 1e-8];

export interface RecoverContext {
  readonly network: ConvNet;
  readonly normalisation: Normalisation;
  readonly recipe: RecoverRecipe;
  readonly seed: number;
  readonly signal?: AbortSignal;
  readonly onIteration?: (progress: Losses & { readonly iteration: number }) => void;
}

export interface RecoverJob {
  /** Number of the job, from which its views are drawn. */
  readonly job: number;
  readonly targets: readonly number[];
  /** Index of the images within their classes. */
  readonly index: number;
}

export interface Losses {
  readonly crossEntropy: number;
  /** The batch-norm term before its weight. */
  readonly bn: number;
}

export interface Recovered {
  /** Normalised, [targets, size, size, 3]: the last iterate. */
  readonly images: Float32Array;
  readonly first: Losses;
  readonly last: Losses;
}

/** Optimises one image per class from noise; a pure function of context and job. */
export async function recover(context: RecoverContext, job: RecoverJob): Promise<Recovered> {
  const { network, recipe, signal, onIteration } = context;
  const size = network.inputSize;
  const shape: [number, number, number, number] = [job.targets.length, size, size, 3];
  let state: State = tf.tidy(() => ({
    images: tf.tensor4d(noise(context, job), shape),
    mean: tf.zeros<tf.Rank.R4>(shape),
    square: tf.zeros<tf.Rank.R4>(shape),
  }));
  let first: Losses | undefined;
  let last: Losses = { crossEntropy: Number.NaN, bn: Number.NaN };
  try {
    for (let t = 0; t < recipe.iterations; t++) {
      throwIfAborted(signal);
      const { next, losses } = step(context, job, state, t);
      tf.dispose({ ...state });
      state = next;
      last = requireFinite(losses, job.job, t);
      first ??= last;
      onIteration?.({ ...last, iteration: t });
      // Lets signals of the system be heard.
      if (t % 16 === 0) await setImmediate();
    }
    const images = Float32Array.from(await state.images.data());
    return { images, first: first ?? last, last };
  } finally {
    tf.dispose({ ...state });
  }
}

/** A type, as TensorFlow.js takes no interface for a container of tensors. */
type State = { images: tf.Tensor4D; mean: tf.Tensor4D; square: tf.Tensor4D };

function step(context: RecoverContext, job: RecoverJob, state: State, t: number) {
  const { iterations, lr } = context.recipe;
  const rate = (lr / 2) * (1 + Math.cos((Math.PI * t) / iterations));
  let losses: Losses = { crossEntropy: Number.NaN, bn: Number.NaN };
  const next = tf.tidy((): State => {
    const { gradient, ...values } = lossGradient(context, job, state.images, t);
    losses = values;
    const mean = state.mean.mul(BETA1).add<tf.Tensor4D>(gradient.mul(1 - BETA1));
    const square = state.square.mul(BETA2).add<tf.Tensor4D>(gradient.square().mul(1 - BETA2));
    const root = square.div(1 - BETA2 ** (t + 1)).sqrt();
    const change = mean.mul(rate / (1 - BETA1 ** (t + 1))).div(root.add(EPSILON));
    const [low, high] = bounds(context.normalisation);
    const images = state.images.sub(change).maximum(low).minimum<tf.Tensor4D>(high);
    return { images, mean, square };
  });
  return { next, losses };
}

/** The losses of one view of the images, and the gradient of their weighted sum with respect to the images. */
export function lossGradient(
  context: RecoverContext,
  job: RecoverJob,
  images: tf.Tensor4D,
  t: number,
): Losses & { readonly gradient: tf.Tensor4D } {
  const { network, recipe } = context;
  const view = viewOf(context, job, t);
  const kept: tf.Scalar[] = [];
  let crossEntropy: tf.Scalar | undefined;
  const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => {
    const tap = (name: string, input: tf.Tensor4D) => {
      const { mean, variance } = network.normStatistics(name);
      const weight = kept.length === 0 ? recipe.firstBn : 1;
      kept.push(tf.keep(normLoss(input, mean, variance).mul<tf.Scalar>(weight)));
    };
    const logits = network.apply(applyView(x as tf.Tensor4D, view), { tap });
    const labels = tf.oneHot(tf.tensor1d([...job.targets], 'int32'), network.classes);
    const mean = logits.logSoftmax().mul(labels).sum().div<tf.Scalar>(-job.targets.length);
    crossEntropy = tf.keep(mean);
    return mean.add<tf.Scalar>(tf.addN(kept).mul(recipe.bnWeight));
  })(images);
  const bn = kept.reduce((sum, loss) => sum + loss.dataSync()[0], 0);
  const ce = crossEntropy?.dataSync()[0] ?? Number.NaN;
  tf.dispose([kept, value, ...(crossEntropy ? [crossEntropy] : [])]);
  return { crossEntropy: ce, bn, gradient: grad as tf.Tensor4D };
}

/** One for the whole batch, as published. */
function viewOf(
  { network, recipe, seed }: RecoverContext,
  { job }: RecoverJob,
  t: number,
): CropView {
  const size = [network.inputSize, network.inputSize] as const;
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
function noise({ network, seed }: RecoverContext, { targets, index }: RecoverJob): Float32Array {
  const stride = network.inputSize ** 2 * 3;
  const values = new Float32Array(targets.length * stride);
  const rng = new CounterRng(seed);
  for (const [i, target] of targets.entries()) {
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
