import { move, transferableSymbol, valueSymbol, workerData } from 'piscina';
import { Augmenter } from '../augment/augmenter.js';
import { packedImages } from '../augment/packed-images.js';
import { renderViews } from '../augment/replay.js';
import type { AugmentationSpec } from '../augment/spec.js';
import { SoftpackError } from '../errors.js';
import { float32ToFloat16 } from '../labels/half.js';
import type { BackendName } from '../nn/backend.js';
import { loadTeacher } from '../nn/load-teacher.js';
import type { Teacher } from '../nn/teacher.js';

/** What every epoch has in common; sent to each thread once. */
export interface LabelWorkerSetup {
  readonly teacher: string;
  readonly backend: BackendName;
  readonly images: { readonly data: Uint8Array; readonly height: number; readonly width: number };
  readonly augmentation: AugmentationSpec;
  readonly classes: number;
}

const setup = workerData as LabelWorkerSetup;
const images = packedImages(setup.images.data, setup.images.height, setup.images.width);
const augmenter = new Augmenter(setup.augmentation, images);
const teacher = checked(await loadTeacher(setup.teacher, { backend: setup.backend }));

/** Images in one forward pass: enough to fill the kernels, few enough to stay in cache. */
const BATCH = 128;

/** Float16 logits [samples, classes] of every view of one epoch, as bytes. */
export async function labelEpoch(epoch: number): Promise<Uint8Array> {
  const [height, width] = setup.augmentation.size;
  const halves = new Uint16Array(images.count * setup.classes);
  for (let start = 0; start < images.count; start += BATCH) {
    const count = Math.min(BATCH, images.count - start);
    // A fresh array each time: TensorFlow.js may alias it.
    const views = new Float32Array(count * height * width * 3);
    const range = { start, count };
    renderViews(augmenter, images, epoch, range, teacher.normalisation, views);
    const logits = await teacher.logits(views);
    const at = start * setup.classes;
    float32ToFloat16(logits, halves.subarray(at, at + logits.length));
  }
  const row = new Uint8Array(halves.buffer);
  const moved = { [transferableSymbol]: [row.buffer], [valueSymbol]: row };
  return move(moved as unknown as Parameters<typeof move>[0]) as unknown as Uint8Array;
}

function checked(loaded: Teacher): Teacher {
  const { size } = setup.augmentation;
  const same = String(loaded.size) === String(size) && loaded.classes === setup.classes;
  if (same) return loaded;
  throw new SoftpackError('INVALID_ARGUMENT', 'the teacher does not fit the views', {
    field: 'teacher',
    expected: `${size.join(' x ')} pixels, ${setup.classes} classes`,
    found: `${loaded.size.join(' x ')} pixels, ${loaded.classes} classes`,
  });
}
