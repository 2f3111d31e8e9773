import type { ArchiveBytes } from '../archive/archive.js';
import type { ShardGrid } from '../archive/grid.js';
import type { TauScheduleChoice } from '../archive/tau-schedule.js';
import type { AugmentationSpec } from '../augment/spec.js';
import type { CodecChoice } from '../codecs/registry.js';
import type { VqaeTrainingOptions } from '../codecs/vqae/options.js';
import type { ImageFit } from '../images/decode.js';
import type { ImageSource } from '../images/source.js';
import type { BackendName } from '../nn/backend/name.js';
import type { TeacherDescription } from '../nn/teachers/description.js';
import type { TotalSizeChoice } from './archive-size.js';
import type { LabelFilter } from './label-filter.js';
import type { PackResult } from './pack.js';
import type { PackProgress } from './pack-options.js';

export interface CacheLabelsOptions {
  /** A teacher's file or folder, as `loadTeacher` reads it. */
  readonly teacher: string;
  /** Facts that the model's files do not contain. */
  readonly description?: TeacherDescription;
  /** TensorFlow.js backend of the teacher; default `auto`. */
  readonly backend?: 'auto' | BackendName;
  /** A folder of images, a list of them, or what `pack-images` wrote; as `openImages` finds them. */
  readonly images: string;
  /** Part of an ImageNet-style tree. */
  readonly split?: string;
  /**
   * Size that image files are decoded to. By default their shorter side is at most twice that of the teacher's images: views
   * are cut out bilinearly, which is free of aliasing down to half the size.
   */
  readonly fit?: ImageFit;
  /** Epochs that the archive serves. */
  readonly epochs: number;
  /**
   * Epochs that are labelled, default all: epoch e has the labels and views of epoch e mod `keep`. `auto`: as many as the
   * size asked for suits best.
   */
  readonly keep?: number | 'auto';
  /**
   * Augmentation of the views; the defaults are the usual recipe of ImageNet's soft labels, see
   * {@link defaultAugmentation}, resized as the teacher's description says.
   */
  readonly augmentation?: Partial<Omit<AugmentationSpec, 'generator' | 'size'>>;
  /** Directory of the archive to write; an interrupted run is resumed. */
  readonly out: string;
  /** Codec of the labels; default: the teacher's logits are kept uncompressed, in half floats. */
  readonly codec?: CodecChoice | TotalSizeChoice;
  /**
   * With a codec: change labels before it sees them, as FerKD does, by the class folders of the images; uncompressed
   * labels of `full` stay the teacher's.
   */
  readonly filter?: Omit<LabelFilter, 'targets'>;
  /** Temperature of the labels, default 20, or the first of the schedule. */
  readonly tau?: number;
  /** Temperatures of the epochs, if they differ. */
  readonly tauSchedule?: TauScheduleChoice;
  readonly training?: VqaeTrainingOptions;
  /**
   * With a codec: directory of an archive of the uncompressed labels, which is kept. By default there is none, or it
   * lies in `<out>.softpack-tmp` and is removed at the end; see `passes`.
   */
  readonly full?: string;
  /**
   * With a codec: 1 trains it on a draw of labels and encodes the others as they come, 2 keeps all uncompressed labels
   * (2 bytes per class) on disk meanwhile, and makes none of them twice. Default: 1 if they exceed 1 GiB.
   */
  readonly passes?: 1 | 2;
  /** With a codec: sides of the shards in epochs and samples; default: whole rows, as many as fit. */
  readonly grid?: ShardGrid;
  readonly workers?: number;
  readonly batch?: number;
  /** Return the result of a finished archive of the same request instead of refusing it; default false. */
  readonly acceptFinished?: boolean;
  readonly onProgress?: (progress: CacheProgress) => void;
  readonly signal?: AbortSignal;
}

export type CacheProgress =
  | { readonly phase: 'label'; readonly done: number; readonly total: number }
  | PackProgress;

export interface CacheLabelsResult {
  readonly labels: number;
  readonly epochs: number;
  readonly images: number;
  readonly classes: number;
  readonly teacher: Readonly<Record<string, unknown>>;
  /** Views of this run that show one known class for the most part: the share to which the teacher gives that class. */
  readonly agreement?: number;
  /** Labels made in this run. */
  readonly made: number;
  readonly bytes: ArchiveBytes;
  /** Number of files that look like images and were left out, and the first of them. */
  readonly skipped?: ImageSource['skipped'];
  /** What epochs were weighed, if their number was left open. */
  readonly weighed?: PackResult['weighed'];
  /** Result of the compression, if a codec was asked for. */
  readonly packed?: PackResult;
}
