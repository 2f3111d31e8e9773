import type { Kernels } from '../native/kernels.js';
import type { Codec } from './codec.js';
import { vqaeForRatio } from './vqae/plan.js';
import { VqaeTrainer, type VqaeTraining, type VqaeTrainingOptions } from './vqae/trainer.js';

/** Which codec, and how large: by its parameters, or by the compression that its codes must reach. */
export type CodecChoice = VqaeChoice;

export type VqaeChoice = { readonly name?: 'vqae' } & (
  | { readonly ratio: number }
  | { readonly dh: number; readonly dc: number; readonly k: number }
);

export interface CodecTraining {
  readonly classes: number;
  /** How many labels will be stored. */
  readonly labels: number;
  readonly tau: number;
  /** Floor of the clamp head. */
  readonly eps: number;
  /** Probabilities [count, classes] at `tau` to learn from; asked for once, and only by codecs that learn. */
  readonly draw: () => Promise<Float32Array>;
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
  return trainVqae(choice, context);
}

async function trainVqae(choice: VqaeChoice, context: CodecTraining): Promise<TrainedCodec> {
  const { classes, labels: count, tau, eps, kernels, signal, onProgress } = context;
  const { dh, dc, k } = 'ratio' in choice ? vqaeForRatio(classes, choice.ratio, count) : choice;
  const labels = await context.draw();
  const config = { classes, dh, dc, k, tau, eps };
  const training = await new VqaeTrainer(config, labels, kernels, context.training).train({
    signal,
    onProgress: ({ step, steps, losses }) => onProgress?.(step, steps, losses.reconstruction),
  });
  return { codec: training.codec, training };
}
