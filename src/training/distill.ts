import { fitTemperature, retemper, type TemperatureSchedule } from '../labels/temperature.js';
import { type Network, predict } from '../nn/network.js';
import { kdLoss } from './loss.js';
import { AdamW } from './optimiser.js';
import { cosineSchedule } from './schedule.js';
import { type Batch, type TrainProgress, trainModel } from './train.js';

export interface StudentOptions {
  /** The student, trained in place; belongs to the caller, who disposes of it. */
  readonly network: Network;
  /** Images and soft labels at temperature `tau`, in training order; at least `steps` of them. */
  readonly batches: AsyncIterable<EpochBatch>;
  readonly steps: number;
  /** Peak learning rate of a cosine with warm-up. */
  readonly lr: number;
  readonly warmup?: number;
  readonly weightDecay?: number;
  /** Temperature of the labels as they come, unless a batch names its own. */
  readonly tau: number;
  /** Temperature that labels are brought to in each epoch, for archives without a schedule; default: as they come (LPQLD). */
  readonly temperature?: TemperatureSchedule;
  /**
   * Temperature of the student's logits: the labels' own (`same`, default), or `fitted` to the last batch of each
   * epoch for the next (LPQLD): where the batch's KL is least, from 0.01 of the labels' temperature to all of it.
   */
  readonly studentTemperature?: 'same' | 'fitted';
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

/** A batch that may know its epoch, which temperature schedules depend on, and the temperature of its labels. */
export interface EpochBatch extends Batch {
  readonly epoch?: number;
  readonly tau?: number;
}

/**
 * Trains a student on soft labels by KL( y || softmax(S(x) / tau) ), on the selected backend; returns the KL of each
 * step's batch.
 */
export async function trainStudent(options: StudentOptions): Promise<Float32Array> {
  const { network, steps, lr, warmup = 0, weightDecay = 0 } = options;
  const optimizer = new AdamW(network.trainable, { learningRate: lr, weightDecay });
  const temperatures = new Temperatures(options);
  try {
    return await trainModel(network, temperatures.batches(), {
      optimizer,
      schedule: cosineSchedule({ peak: lr, steps, warmup }),
      loss: (logits, labels) => kdLoss(logits, labels, temperatures.student),
      steps,
      onProgress: options.onProgress,
      signal: options.signal,
    });
  } finally {
    optimizer.dispose();
  }
}

/** Least temperature of the student as a share of the labels' temperature: the lowest of LPQLD's hundred candidates. */
const LEAST_SHARE = 0.01;

/** Brings labels to the temperature of their epoch, and knows the student's. */
class Temperatures {
  /** Divides the student's logits in the present step. */
  student: number;
  readonly #options: StudentOptions;

  constructor(options: StudentOptions) {
    this.#options = options;
    this.student = options.tau;
  }

  async *batches(): AsyncGenerator<Batch> {
    const { network, tau, temperature, batches } = this.#options;
    let last: EpochBatch | undefined;
    for await (const batch of batches) {
      const epoch = batch.epoch ?? 0;
      const from = batch.tau ?? tau;
      const labels = temperature?.(epoch) ?? from;
      if (last === undefined) this.student = labels;
      else if ((last.epoch ?? 0) !== epoch) this.student = await this.#next(last, labels);
      retemper(batch.ys, network.classes, from, labels);
      last = batch;
      yield batch;
    }
  }

  /** The student's temperature for an epoch whose labels have temperature `labels`. */
  async #next(last: Batch, labels: number): Promise<number> {
    const { network, studentTemperature } = this.#options;
    if (studentTemperature !== 'fitted') return labels;
    const logits = await predict(network, last.xs);
    const range = { from: LEAST_SHARE * labels, to: labels };
    return fitTemperature(logits, last.ys, network.classes, range);
  }
}
