import type { CodecParts, SampleBlockOf } from '../core/codec-parts.js';
import type { SampleRange } from '../core/samples.js';
import type { Manifest } from './manifest.js';
import type { CodesOfSamples, ReadLabelsOptions } from './read-labels.js';
import type { Shards } from './shards.js';

/** Sizes in bytes; `total` is the sum of the four others and the size of all the archive's files. */
export interface ArchiveBytes {
  /** The packed codes. */
  readonly codes: number;
  /** The codec's tensors and its side data per sample. */
  readonly codec: number;
  /** Columns besides the codes, and the manifest: augmentation, class names, teacher, images. */
  readonly metadata: number;
  /** Headers, padding and checksums. */
  readonly container: number;
  readonly total: number;
}

/** An epoch of one of the parts of an archive, or of those samples that the part holds. */
export interface PartOfEpoch {
  /** Number of the part. */
  readonly index: number;
  readonly archive: LabelArchive;
  /** Number of the epoch in it. */
  readonly epoch: number;
  /** Samples of the archive that it holds, [first, after the last]; it counts its own from 0. */
  readonly samples: readonly [number, number];
}

/** A finished archive, open for reading. It gives access to codes and the codec's parts, not to decoded labels. */
export interface LabelArchive extends AsyncDisposable {
  readonly manifest: Manifest;
  /** Files of the labels of its own epochs, without those of further parts. */
  readonly shards: Shards;
  /** sha256 over `manifest.archiveId` and the hash of every shard, hex: two archives of one id hold the same labels. */
  readonly id: string;
  readonly classes: number;
  readonly samples: number;
  readonly epochs: number;
  /** The codec of its own epochs; those of further parts have theirs. */
  readonly codecParts: CodecParts;
  /** The same with all side data per sample, which `codecParts` has without their bytes if they lie in blocks. */
  wholeCodec(): Promise<CodecParts>;
  /**
   * Reads the side data of some samples, if the codec keeps them in blocks: what `LabelContext.sampleBlocks` needs to decode
   * labels of these samples.
   */
  sampleBlocks(...samples: readonly Uint32Array[]): Promise<SampleBlockOf | undefined>;
  /**
   * Rectangles of epochs x samples, each an archive with its own codec, temperature and views that counts its epochs and
   * samples from 0: first the archive's own. An archive without further parts is its only one.
   */
  readonly parts: readonly LabelArchive[];
  /** Where the label of an epoch and a sample is; default the first sample, for archives whose parts have all of them. */
  partOf(epoch: number, sample?: number): PartOfEpoch;
  /** Where the labels of an epoch are, in order of samples. */
  partsOf(epoch: number): readonly PartOfEpoch[];
  /**
   * Reads the row of one epoch into a new SharedArrayBuffer, which workers may share: codes of the `blocks` layout as
   * `core/blocks` has them.
   *
   * @throws `CORRUPT_DATA` naming file and block if the stored bytes have changed,
   *   `INVALID_ARGUMENT` if there is no such epoch or column, `UNSUPPORTED` for codes that lie in several parts, which
   *   are read from each.
   */
  readRow(epoch: number, column?: string): Promise<Uint8Array<SharedArrayBuffer>>;
  /**
   * Reads the codes of some consecutive samples of one epoch, and of those before them in the same byte or block.
   *
   * @throws As {@link LabelArchive.readRow}.
   */
  readCodes(
    epoch: number,
    samples: { readonly start: number; readonly count: number },
  ): Promise<CodesOfSamples>;
  /**
   * Decodes labels of some samples of one epoch, in any order: [samples, classes] probabilities at the epoch's
   * temperature, or at another one if the codec stores logits.
   *
   * @throws As {@link LabelArchive.readRow}; `UNSUPPORTED` for another temperature of other codecs.
   */
  labels(
    epoch: number,
    samples: SampleRange | readonly number[],
    options?: ReadLabelsOptions,
  ): Promise<Float32Array>;
  /**
   * Temperature of the labels of an epoch. In a pruned archive, of an epoch of the training: its rows are batches, which are
   * drawn in any epoch, and `labels` decodes them at `manifest.tau` unless it is given one.
   */
  temperatureOf(epoch: number): number;
  /**
   * The number by which the views of an epoch are drawn: that of the epoch, unless the archive serves more epochs than it
   * stores, or they are a part with views of its own.
   */
  storedEpoch(epoch: number): number;
  /** Path or address of the file that holds a label, for error messages. */
  fileOf(epoch: number, sample?: number): string;
  bytes(): ArchiveBytes;
  /** Reads every file and compares it with its recorded hash; `CORRUPT_DATA` naming the first that differs. */
  verify(): Promise<void>;
  close(): Promise<void>;
}
