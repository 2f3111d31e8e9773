import type { ShardGrid } from '../archive/grid.js';
import type { ArchiveSpec } from '../archive/spec.js';
import type { TauScheduleChoice } from '../archive/tau-schedule.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { CodecChoice } from '../codecs/registry.js';
import type { VqaeTrainingOptions } from '../codecs/vqae/options.js';
import type { Kernels } from '../kernels/types.js';
import type { LabelKind } from '../labels/inspection.js';
import type { LabelSource } from '../labels/source.js';
import type { TotalSizeChoice } from './archive-size.js';
import type { KeptCodec } from './kept-codec.js';
import type { LabelFilter } from './label-filter.js';
import type { PruneOptions } from './pruned-source.js';

export const DEFAULT_TAU = 20;
export const DEFAULT_EPS = 1e-6;

export interface PackOptions {
  /**
   * Logits [epochs, samples, classes]: a .npy, .npz or .safetensors file, or an open source; or an archive, whose
   * labels are packed again. Its facts about them go into the new one, temperature included.
   */
  readonly source: string | LabelSource;
  /** Name of the array, if the file holds several. */
  readonly tensor?: string;
  /**
   * Kind of the source's values. By default logits, refused if they look like anything else. `probabilities` p become
   * logits log p.
   */
  readonly labels?: LabelKind;
  /** Directory to write: new, empty, or with the unfinished archive of the same run, which is resumed. */
  readonly out: string;
  /**
   * By its parameters; by `ratio`, the least compression of its codes relative to float16; or by `totalRatio` or
   * `totalBytes`, the ratio or the bytes of the whole archive.
   */
  readonly codec: CodecChoice | TotalSizeChoice;
  /** @internal A codec that was trained before, with its encoder, in place of training one. */
  readonly trained?: KeptCodec;
  /** @internal The codecs to choose from; default: softpack's own. */
  readonly codecs?: CodecRegistry;
  /** Keep the first 1/N of all batches only (LPLD); the codec stores what is kept. */
  readonly prune?: PruneOptions;
  /**
   * Store the labels of the first `keep` epochs only: epoch e of the archive has those of epoch e mod `keep`, views and
   * all. `auto`: as many as the size asked for suits best, see {@link keptEpochs}. Default all epochs, or as many as an
   * archive that is packed again stores.
   */
  readonly keep?: number | 'auto';
  /** Change labels before the codec sees them: FerKD's adaptation. */
  readonly filter?: LabelFilter;
  /** Temperature of the labels, default 20, or the archive's own, or the first of the schedule. */
  readonly tau?: number;
  /** Temperatures of the epochs, if they differ; default those of an archive that is packed again. */
  readonly tauSchedule?: TauScheduleChoice;
  /** Floor of the decoded probabilities before they are renormalised, default 1e-6. */
  readonly eps?: number;
  readonly training?: VqaeTrainingOptions;
  /** Most labels the codec is trained on; default as many as fit 128 MB, at most 32,768. */
  readonly trainingLabels?: number;
  /** Sides of the shards in epochs and samples; default: whole rows, as many as fit. */
  readonly grid?: ShardGrid;
  /** Recorded in the manifest as they are. */
  readonly augmentation?: ArchiveSpec['augmentation'];
  readonly classNames?: readonly string[];
  readonly teacher?: ArchiveSpec['teacher'];
  readonly images?: ArchiveSpec['images'];
  /** @internal What the archive says of how it was made; default: this call. */
  readonly provenance?: object;
  readonly kernels?: Kernels;
  /** Return the result of a finished archive of the same request instead of refusing it; default false. */
  readonly acceptFinished?: boolean;
  readonly onProgress?: (progress: PackProgress) => void;
  readonly signal?: AbortSignal;
}

export interface PackProgress {
  readonly phase: 'read' | 'train' | 'encode';
  readonly done: number;
  readonly total: number;
  /** Reconstruction error of the last training step, as a share of the labels' variance. */
  readonly error?: number;
}
