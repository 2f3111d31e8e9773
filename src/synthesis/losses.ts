import * as tf from '@tensorflow/tfjs';
import type { DifferentiableNetwork, NormStatistics } from '../nn/network.js';
import { applyView, type CropView } from './crop-view.js';
import { type HeldStatistics, normLoss } from './norm-loss.js';

export interface Losses {
  /** Of one view of the images, nats. */
  readonly crossEntropy: number;
  /** The batch-norm term before its weight. */
  readonly bn: number;
}

/** Everything that the loss of some images follows from. */
export interface Objective {
  readonly network: DifferentiableNetwork;
  /** Class of each image. */
  readonly targets: readonly number[];
  /** Of each tap; as many groups in each as the images are split into. */
  readonly held: readonly HeldStatistics[];
  /** Weight of the batch-norm term next to the cross-entropy, and of the first batch norm among all. */
  readonly bnWeight: number;
  readonly firstBn: number;
}

/**
 * The losses of one view of the images, means over their groups, and the gradient of their weighted sum over the groups with respect
 * to the images: each group's is that of the group alone.
 */
export function lossGradient(
  { network, targets, held, bnWeight, firstBn }: Objective,
  images: tf.Tensor4D,
  view: CropView,
): Losses & { readonly gradient: tf.Tensor4D } {
  const kept: tf.Scalar[] = [];
  const groups = held[0]?.mean.shape[0] ?? 1;
  const perGroup = targets.length / groups;
  let crossEntropy: tf.Scalar | undefined;
  const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => {
    const tap = (_: string, features: tf.Tensor) => {
      const weight = kept.length === 0 ? firstBn : 1;
      kept.push(tf.keep(normLoss(features, held[kept.length]).mul<tf.Scalar>(weight)));
    };
    const logits = network.apply(applyView(x as tf.Tensor4D, view), tap);
    const labels = tf.oneHot(tf.tensor1d([...targets], 'int32'), logits.shape[1]);
    const sum = logits.logSoftmax().mul(labels).sum().div<tf.Scalar>(-perGroup);
    crossEntropy = tf.keep(sum);
    return sum.add<tf.Scalar>(tf.addN(kept).mul(bnWeight));
  })(images);
  const bn = kept.reduce((sum, loss) => sum + loss.dataSync()[0], 0);
  const ce = crossEntropy?.dataSync()[0] ?? Number.NaN;
  tf.dispose([kept, value, ...(crossEntropy ? [crossEntropy] : [])]);
  return { crossEntropy: ce / groups, bn: bn / groups, gradient: grad as tf.Tensor4D };
}

/** The batch-norm term of whole images, the mean over their groups. */
export function normTerm(
  { network, held, firstBn }: Pick<Objective, 'network' | 'held' | 'firstBn'>,
  images: tf.Tensor4D,
): number {
  const groups = held[0]?.mean.shape[0] ?? 1;
  const kept: tf.Scalar[] = [];
  const tap = (_: string, features: tf.Tensor) => {
    const weight = kept.length === 0 ? firstBn : 1;
    kept.push(tf.keep(normLoss(features, held[kept.length]).mul<tf.Scalar>(weight)));
  };
  tf.tidy(() => {
    network.apply(images, tap);
  });
  const term = kept.reduce((sum, loss) => sum + loss.dataSync()[0], 0);
  tf.dispose(kept);
  return term / groups;
}

/** Statistics as tensors for `groups` of images; with several groups each tap has those of all, one after the other. */
export function holdTo(
  statistics: readonly NormStatistics[],
  groups: number,
): readonly HeldStatistics[] {
  return statistics.map(({ mean, variance }) => {
    const shape: [number, number, number] = [groups, 1, mean.length / groups];
    return { mean: tf.tensor3d(mean, shape), variance: tf.tensor3d(variance, shape) };
  });
}

export function release(held: readonly HeldStatistics[]): void {
  for (const { mean, variance } of held) tf.dispose([mean, variance]);
}
