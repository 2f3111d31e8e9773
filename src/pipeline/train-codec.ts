import type { TrainingCheckpoints } from '../codecs/checkpoints.js';
import type { LabelTemperature, TrainedCodec } from '../codecs/descriptor.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import type { Kernels } from '../kernels/types.js';
import type { LabelSource } from '../labels/source.js';
import type { KeptCodec } from './kept-codec.js';
import { DEFAULT_EPS, DEFAULT_TAU, type PackOptions } from './pack-options.js';
import {
  defaultTrainingLabels,
  drawTrainingLabels,
  scanLabels,
  scanLogits,
  visitDrawnLogits,
} from './training-labels.js';

export type TrainCodecOptions = Omit<PackOptions, 'codec'> & {
  readonly codec: CodecChoice;
  readonly checkpoints: TrainingCheckpoints;
  readonly temperatures?: readonly LabelTemperature[];
};

/** A codec for the source's labels, with its encoder. */
export async function trainCodec(
  source: LabelSource,
  kernels: Kernels,
  options: TrainCodecOptions,
): Promise<KeptCodec> {
  const { codec, training, pilot } = await trainOn(source, kernels, options);
  try {
    const parts = codec.parts({ encoder: true });
    if (training === undefined) return { parts, pilot };
    const { curve, revived, stepsPerSecond } = training;
    return { parts, pilot, training: { curve, revived, stepsPerSecond } };
  } finally {
    codec.dispose();
  }
}

function trainOn(
  source: LabelSource,
  kernels: Kernels,
  {
    codec,
    codecs = CODECS,
    tau = DEFAULT_TAU,
    eps = DEFAULT_EPS,
    training,
    trainingLabels,
    temperatures,
    checkpoints,
    onProgress,
    signal,
  }: TrainCodecOptions,
): Promise<TrainedCodec> {
  const { classes } = source;
  const limit = trainingLabels ?? defaultTrainingLabels(classes);
  const drawing = {
    limit,
    seed: training?.seed ?? 0,
    signal,
    onProgress: (done: number, total: number) => onProgress?.({ phase: 'read', done, total }),
  };
  return codecs.train(codec, {
    classes,
    samples: source.samples,
    labels: source.epochs * source.samples,
    ...{ tau, temperatures, eps },
    draw: () => drawTrainingLabels(source, { ...drawing, tau }),
    scan: (visit) => scanLabels(source, { tau, signal, visit }),
    drawLogits: (visit, heldOut) =>
      visitDrawnLogits(
        source,
        heldOut === undefined ? drawing : { ...drawing, limit: heldOut, heldOut: true },
        visit,
      ),
    scanLogits: (visit) => scanLogits(source, visit, signal),
    kernels,
    training,
    checkpoints,
    signal,
    onProgress: (done, total, error) => onProgress?.({ phase: 'train', done, total, error }),
  });
}
