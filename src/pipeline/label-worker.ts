import { parentPort, threadId } from 'node:worker_threads';
import { move, transferableSymbol, valueSymbol, workerData } from 'piscina';
import { Augmenter } from '../augment/augmenter.js';
import { renderViews } from '../augment/replay.js';
import type { AugmentationSpec } from '../augment/spec.js';
import { concatenateIds } from '../core/samples.js';
import {
  type ErrorData,
  errorToData,
  isSoftpackError,
  SoftpackError,
  throwIfAborted,
} from '../errors.js';
import { openImageReader } from '../images/reader.js';
import { rememberImages } from '../images/remembered.js';
import type { ImagesDescription } from '../images/source.js';
import { argMax } from '../labels/arg-max.js';
import { halfLogits, settleLogits } from '../labels/logits.js';
import { type LoadTeacherOptions, loadTeacher } from '../nn/teachers/load.js';
import type { Teacher } from '../nn/teachers/teacher.js';

/** Facts that all batches share; sent to each thread once. */
export interface LabelWorkerSetup {
  readonly teacher: string;
  readonly options: LoadTeacherOptions;
  readonly images: ImagesDescription;
  /** [samples]: the teacher's class of each image, if it is known. */
  readonly targets?: Uint32Array;
  /** Decoded images that a thread keeps, bytes. */
  readonly imageBytes: number;
  readonly augmentation: AugmentationSpec;
  readonly classes: number;
  /** One element over shared memory; 1 tells threads to stop before the next image. */
  readonly stop: Int32Array;
}

export interface LabelTask {
  readonly epoch: number;
  readonly samples: Uint32Array;
}

export interface LabelledViews {
  /** [count, classes] logits as half floats. */
  readonly halves: Uint16Array<ArrayBuffer>;
  /** Views that show a known class for the most part, and those of them that the teacher gives that class. */
  readonly known: number;
  readonly agreeing: number;
}

/** Posted by a thread when its teacher is loaded, or failed to load: from then on only tasks run native code. */
export interface LabelWorkerPrepared {
  readonly preparedThread: number;
}

const setup = workerData as LabelWorkerSetup;
const { augmentation, classes, targets } = setup;
const prepared = prepare();
prepared.catch(() => undefined); // Reported by the first task.
// An idle thread sleeps in a way that stops everything else on it: it must not sleep before this is posted.
await prepared.catch(() => undefined);
parentPort?.postMessage({ preparedThread: threadId } satisfies LabelWorkerPrepared);

function isStopped(): boolean {
  return Atomics.load(setup.stop, 0) !== 0;
}

async function prepare() {
  if (isStopped()) throwIfAborted(AbortSignal.abort());
  const reader = rememberImages(await openImageReader(setup.images), setup.imageBytes);
  const teacher = checked(await loadTeacher(setup.teacher, setup.options));
  // For the partners, which follow from the samples' number, before any image is read: sizes do not matter.
  const mixer = new Augmenter(augmentation, { count: reader.count, sizeOf: () => [1, 1] });
  return { reader, teacher, mixer };
}

/** The teacher's logits of some views of one epoch, or the error as data: errors lose their code between threads. */
export async function labelViews(task: LabelTask): Promise<LabelledViews | ErrorData> {
  try {
    return await label(await prepared, task);
  } catch (error) {
    return errorToData(error);
  }
}

async function label(
  { reader, teacher, mixer }: Awaited<typeof prepared>,
  { epoch, samples }: LabelTask,
): Promise<LabelledViews> {
  if (isStopped()) throwIfAborted(AbortSignal.abort());
  const partners = mixer.batch(epoch, samples).partner;
  const images = await reader.read(concatenateIds(samples, partners), isStopped);
  const augmenter = new Augmenter(augmentation, images);
  const [height, width] = augmentation.size;
  // A fresh array each time: TensorFlow.js may alias it.
  const views = new Float32Array(samples.length * height * width * 3);
  renderViews(augmenter, images, epoch, samples, teacher.normalisation, views);
  const logits = await teacher.logits(views).catch((error: unknown) => {
    throw inEpoch(error, epoch, samples);
  });
  const halves = new Uint16Array(logits.length);
  for (const [i, start] of samples.entries()) {
    const row = logits.subarray(i * classes, (i + 1) * classes);
    settleLogits('', row, classes, { epoch, start });
  }
  halfLogits(logits, classes, halves);
  const { lambda } = augmenter.batch(epoch, samples);
  const labelled = { halves, ...compare(logits, samples, lambda) };
  const moved = { [transferableSymbol]: [halves.buffer], [valueSymbol]: labelled };
  return move(moved as unknown as Parameters<typeof move>[0]) as unknown as LabelledViews;
}

/** Converts an error about an image of a pass into one about its sample. */
function inEpoch(error: unknown, epoch: number, samples: Uint32Array): unknown {
  if (!isSoftpackError(error)) return error;
  const { code, field = '', found } = error;
  const [, place, image, class_] = /^(.*), image (\d+), class (\d+)$/s.exec(field) ?? [];
  if (image === undefined) return error;
  const where = `epoch ${epoch}, sample ${samples[Number(image)]}, class ${class_}`;
  const details = { field: `${place}: ${where}`, found, cause: error };
  return new SoftpackError(code, 'the teacher gives a value that is not finite', details);
}

function compare(logits: Float32Array, samples: Uint32Array, lambda: Float32Array) {
  let [known, agreeing] = [0, 0];
  if (targets === undefined) return { known, agreeing };
  for (const [i, sample] of samples.entries()) {
    if (lambda[i] <= 0.5) continue;
    known += 1;
    const row = logits.subarray(i * classes, (i + 1) * classes);
    agreeing += argMax(row) === targets[sample] ? 1 : 0;
  }
  return { known, agreeing };
}

function checked(loaded: Teacher): Teacher {
  const { size } = augmentation;
  const same = String(loaded.size) === String(size) && loaded.classes === classes;
  if (same) return loaded;
  throw new SoftpackError('INVALID_ARGUMENT', 'the teacher does not fit the views', {
    field: 'teacher',
    expected: `${size.join(' x ')} pixels, ${classes} classes`,
    found: `${loaded.size.join(' x ')} pixels, ${loaded.classes} classes`,
  });
}
