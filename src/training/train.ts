import * as tf from '@tensorflow/tfjs';
import { argument } from '../core/check.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { warnOfPlainBackend } from '../nn/backend/plain-backend.js';
import { IMAGE_CHANNELS, type Network } from '../nn/network.js';
import type { AdamW } from './optimiser.js';
import type { Schedule } from './schedule.js';

/** Images and their labels, row i of one belonging to row i of the other. */
export interface Batch {
  /** [batch, size, size, 3], normalised. Not touched again by the producer: TensorFlow.js may alias it. */
  readonly xs: Float32Array;
  /** [batch, classes], rows summing to 1. */
  readonly ys: Float32Array;
}

export type Loss = (logits: tf.Tensor2D, labels: tf.Tensor2D) => tf.Scalar;

export interface TrainProgress {
  /** Steps done, of `steps`. */
  readonly step: number;
  readonly steps: number;
  /** Loss of the step's batch. */
  readonly loss: number;
}

export interface TrainOptions {
  readonly optimizer: AdamW;
  readonly schedule: Schedule;
  readonly loss: Loss;
  /** Stops after this many batches; fewer are an error. */
  readonly steps: number;
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

/** One optimiser step; returns the batch's loss. Leaves no tensor behind. */
export async function trainStep(
  network: Network,
  batch: Batch,
  optimizer: AdamW,
  loss: Loss,
): Promise<number> {
  const { inputSize, classes } = network;
  const count = batch.ys.length / classes;
  checkBatch(batch, count, inputSize);
  warnOfPlainBackend(tf.getBackend());
  const value = tf.tidy(() => {
    const xs = tf.tensor4d(batch.xs, [count, inputSize, inputSize, IMAGE_CHANNELS]);
    const ys = tf.tensor2d(batch.ys, [count, classes]);
    const step = tf.variableGrads(
      () => loss(network.apply(xs, { training: true }), ys),
      network.trainable as tf.Variable[],
    );
    optimizer.step(step.grads);
    return step.value;
  });
  try {
    return (await value.data())[0];
  } finally {
    value.dispose();
  }
}

/** Trains on `steps` batches in the order given; returns the loss of each step. */
export async function trainModel(
  network: Network,
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  { optimizer, schedule, loss, steps, onProgress, signal }: TrainOptions,
): Promise<Float32Array> {
  argument.count(steps, 'steps', 1);
  const losses = new Float32Array(steps);
  let step = 0;
  for await (const batch of batches) {
    throwIfAborted(signal);
    optimizer.learningRate = schedule(step);
    losses[step] = await trainStep(network, batch, optimizer, loss);
    if (!Number.isFinite(losses[step])) {
      throw new SoftpackError('NON_FINITE', 'training diverged; a lower learning rate may help', {
        field: 'loss',
        found: losses[step],
      });
    }
    step += 1;
    onProgress?.({ step, steps, loss: losses[step - 1] });
    if (step === steps) return losses;
  }
  argument.fail('batches', 'too few batches', steps, step);
  return losses;
}

function checkBatch({ xs }: Batch, count: number, inputSize: number): void {
  argument.count(count, 'ys', 1);
  const expected = count * inputSize * inputSize * IMAGE_CHANNELS;
  argument.that(xs.length === expected, xs.length, 'xs', `${expected} values for ${count} labels`);
}
