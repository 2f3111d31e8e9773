import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openArchive } from '#src/archive/archive.js';
import { predictArchive } from '#src/archive/size.js';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews } from '#src/augment/replay.js';
import { CODECS } from '#src/codecs/registry.js';
import { MANIFEST_FILE } from '#src/container/shard-file.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { SoftpackError } from '#src/errors.js';
import { loadKernels } from '#src/kernels/load.js';
import { softmaxRows, temperatureDecay } from '#src/labels/temperature.js';
import { prunedBatches } from '#src/loader/kept-batches.js';
import { createLoader } from '#src/loader/loader.js';
import { ConvNet } from '#src/nn/convnet.js';
import { archiveSource } from '#src/pipeline/archive-source.js';
import { type EpochBatch, trainStudent } from '#src/training/distill.js';
import { evaluateTop1 } from '#src/training/evaluate.js';
import { IMAGE_SIZE, NORMALISATION, TAU } from '../demo/recipe.js';
import { heldOutImages } from '../demo/teacher.js';
import {
  augmentationOf,
  epochsOf,
  fullLabels,
  imagesOf,
  type LabelSet,
  labelParameters,
  type Setting,
} from './labels.js';
import type { Method } from './methods.js';
import { codecSteps, keyOf, type PackStep, pack } from './pack.js';
import { decayEvery, STUDENT_TRAINING, STUDENTS, type StudentName } from './recipe.js';

export interface StudentStep {
  /** Share of the held-out set classified correctly. */
  readonly top1: number;
  /** Mean loss of the last epoch. */
  readonly loss: number;
}

/** Trains a student from the archive of one method and tests it on the held-out set. */
export async function student(
  method: Method,
  set: LabelSet,
  name: StudentName,
  seed: number,
  setting: Setting,
): Promise<StudentStep> {
  const { workspace, scale } = setting;
  const { codec, prune, keep, varied, shuffled, temperatures, tau, filter, plainBasisWithin } =
    method;
  const parameters = {
    labels: labelParameters(set, setting),
    method: {
      codec: keyOf(codec),
      ...{ prune, shuffled, temperatures, tau, filter, keep, varied, plainBasisWithin },
    },
    steps: codecSteps(codec, scale),
    student: { ...STUDENTS[name], ...STUDENT_TRAINING },
    seed,
  };
  return workspace.step('student', parameters, async () => {
    const packed = await packedArchive(method, set, setting);
    await using archive = await openArchive(packed.archive);
    const images = imagesOf(setting, set);
    const common = { archive, images, normalisation: NORMALISATION, seed, signal: setting.signal };
    if (prune !== undefined)
      return await train(prunedBatches(common), name, seed, method, set, setting);
    await using loader = createLoader({
      ...common,
      batchSize: STUDENT_TRAINING.batch,
      dropLast: true,
      reusedViews: varied ? 'varied' : 'same',
    });
    return await train(loader, name, seed, method, set, setting);
  });
}

async function packedArchive(method: Method, set: LabelSet, setting: Setting): Promise<PackStep> {
  const packed = await pack(method, set, setting);
  if (existsSync(join(packed.archive, MANIFEST_FILE))) return packed;
  throw new SoftpackError('NOT_FOUND', 'an archive that was made is gone; delete its step too', {
    field: packed.archive,
  });
}

/** The control: as many full labels of randomly chosen samples as fit the bytes of a ratio. */
export async function subsetStudent(
  ratio: number,
  set: LabelSet,
  seed: number,
  setting: Setting,
): Promise<StudentStep> {
  const labels = labelParameters(set, setting);
  const parameters = { labels, ratio, student: { ...STUDENTS.plain, ...STUDENT_TRAINING }, seed };
  return setting.workspace.step('subset', parameters, async () => {
    const { samples } = subsetAt(ratio, set, setting);
    const batches = subsetBatches(samples, set, seed, setting);
    return train(batches, 'plain', seed, undefined, set, setting);
  });
}

/** Number of samples whose full labels fit the bytes of a ratio, and those bytes. */
export function subsetAt(
  ratio: number,
  set: LabelSet,
  { scale, emoji }: Setting,
): { readonly samples: number; readonly bytes: number } {
  const classes = emoji.classes.length;
  const all = set.ipc * classes;
  const epochs = epochsOf(set, scale);
  const shape = CODECS.shape({ name: 'none' }, { classes, samples: all });
  const bytesOf = (samples: number) => predictArchive(shape, { classes, samples, epochs }).total;
  let samples = Math.floor(all / ratio);
  while (samples > 1 && bytesOf(samples) > (2 * classes * all * epochs) / ratio) samples--;
  return { samples, bytes: bytesOf(samples) };
}

/** Views of the subset, each of a random epoch, with their full labels: as many as an epoch of all would have. */
async function* subsetBatches(
  count: number,
  set: LabelSet,
  seed: number,
  setting: Setting,
): AsyncGenerator<EpochBatch> {
  await using full = await openArchive(await fullLabels(set, setting));
  const source = archiveSource(full, loadKernels());
  const images = imagesOf(setting, set);
  const random = new RandomSequence(seed, STREAM.training, 1);
  const subset = random.distinct(count, images.count);
  const augmenter = new Augmenter(augmentationOf(set), images);
  const { batch } = STUDENT_TRAINING;
  const { classes, epochs } = full;
  for (let step = 0; step < stepsOf(set, setting); step++) {
    const epoch = random.below(epochs);
    const samples = Uint32Array.from({ length: batch }, () => subset[random.below(count)]);
    const xs = new Float32Array(batch * IMAGE_SIZE * IMAGE_SIZE * 3);
    renderViews(augmenter, images, epoch, samples, NORMALISATION, xs);
    const ys = new Float32Array(batch * classes);
    for (const [i, sample] of samples.entries()) {
      ys.set(await source.read(epoch, sample, 1), i * classes);
    }
    softmaxRows(ys, batch, classes, TAU, ys);
    yield { xs, ys };
  }
}

function stepsOf(set: LabelSet, { scale, emoji }: Setting): number {
  const perEpoch = Math.floor((set.ipc * emoji.classes.length) / STUDENT_TRAINING.batch);
  return epochsOf(set, scale) * perEpoch;
}

async function train(
  batches: AsyncIterable<EpochBatch>,
  name: StudentName,
  seed: number,
  method: Method | undefined,
  set: LabelSet,
  setting: Setting,
): Promise<StudentStep> {
  const { scale, emoji, signal, onProgress } = setting;
  const { lr, warmup, weightDecay } = STUDENT_TRAINING;
  const steps = stepsOf(set, setting);
  const epochs = epochsOf(set, scale);
  const decay = temperatureDecay({ start: TAU, every: decayEvery(epochs) });
  const config = { inputSize: IMAGE_SIZE, ...STUDENTS[name], classes: emoji.classes.length };
  using network = ConvNet.create(config, seed);
  const losses = await trainStudent({
    network,
    batches,
    steps,
    lr,
    warmup,
    weightDecay,
    tau: method?.tau ?? TAU,
    ...(method?.temperatures ? { temperature: decay, studentTemperature: 'fitted' as const } : {}),
    signal,
    onProgress: ({ step, loss }) =>
      onProgress(`student: step ${step} of ${steps}, KL ${loss.toPrecision(3)}`),
  });
  const last = losses.slice(-Math.max(1, Math.floor(steps / epochs)));
  const loss = last.reduce((sum, value) => sum + value, 0) / last.length;
  return { top1: await evaluateTop1(network, heldOutImages(emoji)), loss };
}
