import { createArchive } from '../archive/create.js';
import type { Provenance } from '../archive/provenance.js';
import type { TauSchedule } from '../archive/tau-schedule.js';
import { NoneCodec } from '../codecs/none.js';
import { float16ToFloat32 } from '../core/half.js';
import { sampleIds } from '../core/samples.js';
import { LabelInspection } from '../labels/inspection.js';
import type { LabelTask } from './label-worker.js';
import { type LabelsMade, TeacherPool, type TeacherPoolOptions } from './teacher-pool.js';

export interface LabelViewsOptions extends TeacherPoolOptions {
  /** Description of `images` for the archive's manifest. */
  readonly imagesRecord?: object;
  /** Epochs that the archive serves. */
  readonly epochs: number;
  /** Epochs that are labelled, if they are fewer: epoch e has the labels and views of epoch e mod `storedEpochs`. */
  readonly storedEpochs?: number;
  /** Temperature at which the archive's labels are read later. */
  readonly tau: number;
  /** Temperatures of the epochs in its place. */
  readonly tauSchedule?: TauSchedule;
  /** Directory of the archive to write: float16 logits, codec `none`. */
  readonly out: string;
  readonly classNames?: readonly string[];
  /** Recorded in the manifest. */
  readonly fingerprint?: Readonly<Record<string, unknown>>;
  /** How the archive says that it was made. */
  readonly provenance?: Provenance;
  /** Accept the teacher's labels as logits, whatever they look like. */
  readonly settled?: boolean;
  /** Labels done, of all; those of an earlier run count as done from the start. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Shows the teacher every augmented view of every sample and keeps its logits, uncompressed, in an archive.
 * An interrupted or killed run resumes after the last pass that it wrote.
 */
export async function labelViews(options: LabelViewsOptions): Promise<LabelsMade> {
  const { images, augmentation, classes, tau, out, onProgress, signal } = options;
  const { storedEpochs, epochs: served } = options;
  const epochs = storedEpochs ?? served;
  const codec = new NoneCodec({ classes, tau, store: 'logits' });
  const samples = images.count;
  const spec = {
    classes,
    samples,
    ...{ epochs: served, storedEpochs },
    ...{ tau, tauSchedule: options.tauSchedule },
    codec: codec.parts(),
    layout: codec.layout,
    decoding: codec.decoding,
    augmentation,
    classNames: options.classNames,
    teacher: options.fingerprint,
    images: options.imagesRecord,
    provenance: options.provenance,
  };
  await using writer = await createArchive(out, spec, { resume: true });
  let made: LabelsMade = { labels: 0 };
  if (writer.nextEpoch < epochs) {
    const inspection = new LabelInspection(classes, tau);
    const first = { epoch: writer.next.epoch, start: writer.next.sample };
    onProgress?.(first.epoch * samples + first.start, epochs * samples);
    await using teachers = new TeacherPool(options);
    const tasks = labelTasks(first, epochs, samples, teachers.batch);
    for await (const [{ epoch, samples: ids }, views] of teachers.run(tasks, signal)) {
      const [start] = ids;
      const count = ids.length;
      if (!options.settled) inspect(inspection, views.halves, options.teacher);
      await writer.write({ epoch, start, count }, { codes: new Uint8Array(views.halves.buffer) });
      onProgress?.(epoch * samples + start + count, epochs * samples);
    }
    made = teachers.made;
  }
  await writer.finish();
  return made;
}

/** Stops a run whose teacher gives no logits at its first passes, of which nothing is kept. */
function inspect(inspection: LabelInspection, halves: Uint16Array, teacher: string): void {
  if (inspection.enough) return;
  const logits = new Float32Array(halves.length);
  float16ToFloat32(halves, logits);
  inspection.add(logits);
  inspection.require(teacher);
}

function* labelTasks(
  first: { readonly epoch: number; readonly start: number },
  epochs: number,
  samples: number,
  batch: number,
): Generator<LabelTask> {
  for (let epoch = first.epoch; epoch < epochs; epoch++) {
    for (let start = epoch === first.epoch ? first.start : 0; start < samples; start += batch) {
      const count = Math.min(batch, samples - start);
      yield { epoch, samples: sampleIds({ start, count }) };
    }
  }
}
