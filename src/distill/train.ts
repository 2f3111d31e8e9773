import { AdamW } from '../nn/adamw.js';
import { kdLoss } from '../nn/loss.js';
import { ConvNet, type ConvNetConfig } from '../nn/models.js';
import { cosineSchedule } from '../nn/schedule.js';
import { type Batch, type TrainProgress, trainModel } from '../nn/train.js';

export interface StudentOptions {
  readonly config: ConvNetConfig;
  /** Of the student's first weights. */
  readonly seed: number;
  /** Images and soft labels at temperature `tau`, in training order; at least `steps` of them. */
  readonly batches: AsyncIterable<Batch>;
  readonly steps: number;
  /** Peak learning rate of a cosine with warm-up. */
  readonly lr: number;
  readonly warmup?: number;
  readonly weightDecay?: number;
  readonly tau: number;
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

export interface TrainedStudent {
  /** Belongs to the caller, who disposes of it. */
  readonly model: ConvNet;
  /** KL of each step's batch. */
  readonly losses: Float32Array;
}

/** Trains a student on soft labels by KL( y || softmax(S(x) / tau) ), on the selected backend. */
export async function trainStudent(options: StudentOptions): Promise<TrainedStudent> {
  const { config, seed, batches, steps, lr, warmup = 0, weightDecay = 0, tau } = options;
  const model = ConvNet.create(config, seed);
  const optimizer = new AdamW(model.trainable, { learningRate: lr, weightDecay });
  try {
    const losses = await trainModel(model, batches, {
      optimizer,
      schedule: cosineSchedule({ peak: lr, steps, warmup }),
      loss: (logits, labels) => kdLoss(logits, labels, tau),
      steps,
      onProgress: options.onProgress,
      signal: options.signal,
    });
    return { model, losses };
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    optimizer.dispose();
  }
}
