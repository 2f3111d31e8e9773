import { createHash } from 'node:crypto';
import { type LabelArchive, openArchive } from '#src/archive/archive.js';
import { createArchive } from '#src/archive/create.js';
import type { ArchiveRow } from '#src/archive/pieces.js';
import type { ArchiveSpec } from '#src/archive/spec.js';
import type { AugmentationSpec } from '#src/augment/spec.js';
import type { Codec } from '#src/codecs/codec.js';
import { VqaeTrainer } from '#src/codecs/vqae/trainer.js';
import { memoryImages } from '#src/images/memory.js';
import { loadKernels } from '#src/kernels/load.js';
import { createLoader } from '#src/loader/loader.js';
import type { Batch, LoaderOptions } from '#src/loader/options.js';
import { syntheticLabels, syntheticLogits } from '../codecs/labels.js';

export const CLASSES = 21;
export const SAMPLES = 37;
export const EPOCHS = 3;
export const augmentation: AugmentationSpec = {
  generator: 'philox4x32-10',
  seed: 4,
  size: [6, 5],
  crop: { scale: [0.5, 1], ratio: [0.8, 1.25] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 0.5 },
};
export const normalisation = { mean: [0.5, 0.5, 0.5], std: [0.3, 0.3, 0.3] } as const;
export const images = memoryImages(
  Uint8Array.from({ length: SAMPLES * 8 * 7 * 3 }, (_, i) => (i * 2654435761) >>> 24),
  8,
  7,
);

/** Trained for a moment: codes and tables are as good as any. */
export async function trainCodec(): Promise<Codec> {
  const config = { classes: CLASSES, dh: 21, dc: 7, k: 8, tau: 8, eps: 1e-6 };
  const labels = syntheticLabels(300, CLASSES, 8);
  const training = { steps: 20, batch: 32 };
  return (await new VqaeTrainer(config, labels, loadKernels(), training).train()).codec;
}

export interface ArchiveChange {
  readonly spec?: Partial<ArchiveSpec>;
  /** Rows of columns beside the codes. */
  readonly rows?: (epoch: number) => ArchiveRow;
}

/** An archive of synthetic labels of `SAMPLES` samples for `EPOCHS` epochs. */
export async function writeArchive(
  path: string,
  codec: Codec,
  { spec, rows }: ArchiveChange = {},
): Promise<LabelArchive> {
  await using writer = await createArchive(path, {
    classes: CLASSES,
    samples: SAMPLES,
    epochs: EPOCHS,
    tau: codec.tau,
    codec: codec.parts(),
    layout: codec.layout,
    decoding: codec.decoding,
    augmentation,
    ...spec,
  });
  for (let epoch = 0; epoch < (spec?.storedEpochs ?? EPOCHS); epoch++) {
    const logits = syntheticLogits(SAMPLES, CLASSES, 12, epoch);
    const context = { epoch, samples: { start: 0, count: SAMPLES } };
    const codes = await codec.encode(logits, context);
    await writer.writeRow(epoch, { codes, ...rows?.(epoch) });
  }
  await writer.finish();
  return openArchive(path);
}

/** All batches of a loader; copied where the loader uses their memory again. */
export async function collect(options: LoaderOptions): Promise<Batch[]> {
  await using loader = createLoader(options);
  const batches: Batch[] = [];
  for await (const batch of loader) {
    const slots = options.buffers === 'slots';
    batches.push(slots ? { ...batch, xs: batch.xs.slice(), ys: batch.ys.slice() } : batch);
    batch.release();
  }
  return batches;
}

export function digest(batches: readonly Batch[]): string {
  const hash = createHash('sha256');
  for (const { epoch, index, sampleIds, xs, ys } of batches) {
    hash.update(`${epoch} ${index}`).update(sampleIds).update(xs).update(ys);
  }
  return hash.digest('hex');
}
