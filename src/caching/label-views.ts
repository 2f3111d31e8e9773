import { availableParallelism } from 'node:os';
import { Piscina } from 'piscina';
import { createArchive } from '../archive/writer.js';
import type { PackedImages } from '../augment/packed-images.js';
import type { AugmentationSpec } from '../augment/spec.js';
import { NoneCodec } from '../codec/none.js';
import { throwIfAborted } from '../errors.js';
import type { BackendName } from '../nn/backend.js';
import type { LabelWorkerSetup } from './label-worker.js';

export interface LabelViewsOptions {
  /** A teacher's file, as `loadTeacher` reads it. */
  readonly teacher: string;
  /** TensorFlow.js backend of the teacher. */
  readonly backend: BackendName;
  readonly images: PackedImages;
  readonly augmentation: AugmentationSpec;
  readonly epochs: number;
  readonly classes: number;
  /** Temperature at which the archive's labels are read later. */
  readonly tau: number;
  /** Directory of the archive to write: float16 logits, codec `none`. */
  readonly out: string;
  readonly classNames?: readonly string[];
  /** Recorded in the manifest. */
  readonly fingerprint?: Readonly<Record<string, unknown>>;
  /** Teachers at work side by side, one a thread; default one a processor. */
  readonly workers?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Shows the teacher every augmented view of every sample and keeps its logits, uncompressed, in an archive.
 * An interrupted run is taken up at the first epoch that is missing.
 */
export async function labelViews(options: LabelViewsOptions): Promise<void> {
  const { images, augmentation, epochs, classes, tau, out, onProgress, signal } = options;
  const codec = new NoneCodec({ classes, tau, store: 'logits' });
  const spec = {
    classes,
    samples: images.count,
    epochs,
    tau,
    codec: codec.parts(),
    layout: codec.layout,
    decoding: codec.decoding,
    augmentation,
    classNames: options.classNames,
    teacher: options.fingerprint,
  };
  const writer = await createArchive(out, spec, { resume: true });
  const workers = Math.max(1, options.workers ?? availableParallelism());
  const setup: LabelWorkerSetup = {
    teacher: options.teacher,
    backend: options.backend,
    images: { data: images.data, height: images.height, width: images.width },
    augmentation,
    classes,
  };
  const pool = new Piscina({
    filename: new URL('./label-worker.js', import.meta.url).href,
    name: 'labelEpoch',
    minThreads: workers,
    maxThreads: workers,
    workerData: setup,
  });
  try {
    const ahead: Promise<Uint8Array>[] = [];
    let submitted = writer.nextEpoch;
    for (let epoch = writer.nextEpoch; epoch < epochs; epoch++) {
      while (submitted < epochs && ahead.length < workers + 1) {
        const row = pool.run(submitted++) as Promise<Uint8Array>;
        row.catch(() => undefined); // Reported when its turn comes.
        ahead.push(row);
      }
      throwIfAborted(signal);
      const codes = await ahead.shift();
      if (codes !== undefined) await writer.writeRow(epoch, { codes });
      onProgress?.(epoch + 1, epochs);
    }
    await writer.finish();
  } finally {
    await pool.close();
    await writer.close();
  }
}
