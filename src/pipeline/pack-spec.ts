import type { PlannedLabels } from '../archive/size.js';
import type { ArchiveSpec } from '../archive/spec.js';
import { type TauSchedule, tauScheduleOf } from '../archive/tau-schedule.js';
import type { Codec } from '../codecs/codec.js';
import type { LabelSource } from '../labels/source.js';
import { DEFAULT_TAU, type PackOptions } from './pack-options.js';
import type { StoredPart } from './stored-part.js';

/** What was asked for, of one part. */
export type SpecOptions = Omit<PackOptions, 'tauSchedule' | 'keep'> &
  StoredPart &
  Pick<ArchiveSpec, 'columns' | 'tauSchedule' | 'views'>;

/** What is known of an archive before its codec. */
export function plannedLabels(
  { classes, samples }: LabelSource,
  { augmentation, classNames, teacher, images, pruning, columns, ...options }: SpecOptions,
): PlannedLabels {
  const { epochs, storedEpochs, tauSchedule } = options;
  const known = { augmentation, classNames, teacher, images, pruning, columns };
  return { classes, samples, epochs, storedEpochs, tauSchedule, ...known };
}

export function scheduleOf(
  { epochs, pruning }: StoredPart,
  { tauSchedule, tau = DEFAULT_TAU }: Pick<PackOptions, 'tauSchedule' | 'tau'>,
): TauSchedule | undefined {
  return tauSchedule && tauScheduleOf(tauSchedule, pruning?.epochs ?? epochs, tau);
}

/** What is written of an archive. */
export function archiveSpec(
  source: Pick<LabelSource, 'classes' | 'samples'>,
  codec: Codec,
  options: Omit<SpecOptions, 'source' | 'out' | 'codec'>,
): ArchiveSpec {
  return {
    classes: source.classes,
    samples: source.samples,
    epochs: options.epochs,
    storedEpochs: options.storedEpochs,
    tau: codec.tau,
    tauSchedule: options.tauSchedule,
    codec: codec.parts(),
    layout: codec.layout,
    decoding: codec.decoding,
    augmentation: options.augmentation ?? null,
    classNames: options.classNames,
    teacher: options.teacher,
    images: options.images,
    pruning: options.pruning,
    columns: options.columns,
    provenance: options.provenance,
    views: options.views,
    grid: options.grid,
  };
}
