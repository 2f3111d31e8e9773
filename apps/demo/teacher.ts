import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Augmenter } from '#src/augment/augmenter.js';
import { renderViews, renderWhole } from '#src/augment/replay.js';
import { STREAM } from '#src/core/philox.js';
import { RandomSequence } from '#src/core/random.js';
import { SoftpackError } from '#src/errors.js';
import { type MemoryImages, memoryImages } from '#src/images/memory.js';
import type { BackendName } from '#src/nn/backend/name.js';
import { ConvNet } from '#src/nn/convnet.js';
import { loadTeacher, NORMALISATION_KEY } from '#src/nn/teachers/load.js';
import { loadConvNet, saveConvNet } from '#src/nn/weights.js';
import { evaluateTop1, type LabelledImages } from '#src/training/evaluate.js';
import { kdLoss } from '#src/training/loss.js';
import { AdamW } from '#src/training/optimiser.js';
import { cosineSchedule } from '#src/training/schedule.js';
import { type Batch, type TrainProgress, trainModel } from '#src/training/train.js';
import { EMOJI_SETS, type EmojiImages, emojiSamples } from './emoji.js';
import {
  demoAugmentation,
  IMAGE_SIZE,
  NORMALISATION,
  TEACHER,
  type TeacherRecipe,
  teacherConfig,
} from './recipe.js';

/** The committed teacher, in the package. */
export const TEACHER_FILE = fileURLToPath(
  new URL('../../../assets/demo-teacher.safetensors', import.meta.url),
);

const IMAGE_VALUES = IMAGE_SIZE * IMAGE_SIZE * 3;

/** The samples that teacher and students are trained on: every set but the last, set after set. */
export function trainingSamples({ sets, classes, size, pixels }: EmojiImages): MemoryImages {
  const bytes = (sets.length - 1) * classes.length * size * size * 3;
  return memoryImages(pixels.subarray(0, bytes), size, size);
}

/** One whole image per class of the set that no network trains on. */
export function heldOutImages(images: EmojiImages): LabelledImages {
  const count = images.classes.length;
  const source = emojiSamples(images, [images.sets.length - 1]);
  const xs = new Float32Array(count * IMAGE_VALUES);
  renderWhole(source, { start: 0, count }, [IMAGE_SIZE, IMAGE_SIZE], NORMALISATION, xs);
  return { xs, classes: Uint16Array.from({ length: count }, (_, index) => index) };
}

export interface DemoTeacher {
  /** Path of its weights. */
  readonly file: string;
  readonly fingerprint: Readonly<Record<string, unknown>>;
  /** Share of the held-out images classified correctly, measured now. */
  readonly top1: number;
}

export interface DemoTeacherOptions extends TeacherOptions {
  /** Folder for a teacher trained here. */
  readonly dir: string;
  /** Train a teacher instead of using the one that comes with softpack. */
  readonly train: boolean;
  readonly backend: BackendName;
}

/** The teacher, loaded or trained, on the selected backend. */
export async function demoTeacher(options: DemoTeacherOptions): Promise<DemoTeacher> {
  const { images, dir, train, backend } = options;
  let file = TEACHER_FILE;
  if (train) {
    file = join(dir, 'demo-teacher.safetensors');
    const model = await trainTeacher(options);
    try {
      await saveTeacher(model, images, file, backend);
    } finally {
      model.dispose();
    }
  }
  const model = await loadDemoTeacher(images, file);
  try {
    const top1 = await evaluateTop1(model, heldOutImages(images));
    using teacher = await loadTeacher(file, { backend });
    return { file, fingerprint: teacher.fingerprint, top1 };
  } finally {
    model.dispose();
  }
}

export interface TeacherOptions {
  readonly images: EmojiImages;
  /** Default the committed teacher's. */
  readonly recipe?: TeacherRecipe;
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

/**
 * Trains the teacher on true classes, by the recipe: a quarter of an hour by native TensorFlow, three times that by
 * wasm. The caller disposes of it.
 */
export async function trainTeacher({
  images,
  recipe = TEACHER,
  onProgress,
  signal,
}: TeacherOptions): Promise<ConvNet> {
  const { seed, epochs, batch, lr, warmup, weightDecay } = recipe;
  const steps = Math.floor(trainingSamples(images).count / batch) * epochs;
  const model = ConvNet.create(teacherConfig(images.classes.length, recipe), seed);
  const optimizer = new AdamW(model.trainable, { learningRate: lr, weightDecay });
  try {
    await trainModel(model, teacherBatches(images, recipe), {
      optimizer,
      schedule: cosineSchedule({ peak: lr, steps, warmup }),
      loss: (logits, labels) => kdLoss(logits, labels, 1),
      steps,
      onProgress,
      signal,
    });
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    optimizer.dispose();
  }
}

/** Writes the teacher with its recipe; returns its top-1 on the held-out set, 0 to 1. */
export async function saveTeacher(
  model: ConvNet,
  images: EmojiImages,
  path: string,
  backend: string,
  { command = 'softpack demo --train-teacher', recipe = TEACHER } = {},
): Promise<number> {
  const top1 = await evaluateTop1(model, heldOutImages(images));
  await saveConvNet(model, path, {
    command,
    backend,
    recipe: JSON.stringify(recipe),
    data: EMOJI_SETS.map((set) => `${set.package}@${set.version}`).join(' '),
    [NORMALISATION_KEY]: JSON.stringify(NORMALISATION),
    heldOut: images.sets[images.sets.length - 1],
    top1: top1.toFixed(4),
    classes: classCodes(images),
  });
  return top1;
}

/** Reads a teacher of these images' classes; the caller disposes of it. */
export async function loadDemoTeacher(images: EmojiImages, path: string): Promise<ConvNet> {
  if (!existsSync(path)) {
    throw new SoftpackError('NOT_FOUND', 'no teacher; softpack demo --train-teacher makes one', {
      field: path,
    });
  }
  const { model, metadata } = await loadConvNet(path);
  const sameImages = model.config.inputSize === IMAGE_SIZE;
  if (sameImages && metadata.get('classes') === classCodes(images)) return model;
  model.dispose();
  throw new SoftpackError('INVALID_FILE', 'a teacher of other classes or another image size', {
    field: path,
    expected: `${images.classes.length} classes at ${IMAGE_SIZE} pixels`,
    found: `${model.config.classes} classes at ${model.config.inputSize} pixels`,
  });
}

function classCodes(images: EmojiImages): string {
  return images.classes.map(({ code }) => code).join(' ');
}

/** Augmented views with their true classes (two of them where CutMix mixed), each epoch in its own order. */
function* teacherBatches(images: EmojiImages, recipe: TeacherRecipe): Generator<Batch> {
  const { seed, epochs, batch, colour, smallestCrop } = recipe;
  const source = trainingSamples(images);
  const augmenter = new Augmenter(demoAugmentation(seed, smallestCrop), source);
  const classes = images.classes.length;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const random = new RandomSequence(seed, STREAM.training, epoch);
    const order = random.distinct(source.count, source.count);
    for (let start = 0; start + batch <= order.length; start += batch) {
      const samples = order.slice(start, start + batch);
      const xs = new Float32Array(batch * IMAGE_VALUES);
      renderViews(augmenter, source, epoch, samples, NORMALISATION, xs);
      for (let i = 0; i < batch; i++) {
        jitterColour(xs.subarray(i * IMAGE_VALUES, (i + 1) * IMAGE_VALUES), colour, random);
      }
      const { partner, lambda } = augmenter.batch(epoch, samples);
      const ys = new Float32Array(batch * classes);
      for (let i = 0; i < batch; i++) {
        ys[i * classes + (samples[i] % classes)] += lambda[i];
        ys[i * classes + (partner[i] % classes)] += 1 - lambda[i];
      }
      yield { xs, ys };
    }
  }
}

/** Designers differ most in colour; the labels should depend on it less than the three sets would teach. */
function jitterColour(view: Float32Array, strength: number, random: RandomSequence): void {
  const symmetric = (): number => 2 * random.uniform() - 1;
  const gains = [0, 1, 2].map(() => 1 + strength * symmetric());
  const shift = 2 * strength * symmetric();
  for (let i = 0; i < view.length; i++) view[i] = view[i] * gains[i % 3] + shift;
}
