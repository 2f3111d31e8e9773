import type { LabelArchive } from '../archive/archive.js';
import type { RowLabels } from '../archive/pruning.js';
import { Augmenter } from '../augment/augmenter.js';
import {
  findRecordedColumns,
  RecordedAugmentations,
  type RecordedRows,
} from '../augment/recorded.js';
import { type Normalisation, type PixelSource, renderViews } from '../augment/replay.js';
import { type AnyAugmentationSpec, type AugmentationSpec, renderingOf } from '../augment/spec.js';
import { concatenateIds } from '../core/samples.js';
import type { ImageReader } from '../images/image-reader.js';
import type { MemoryImages } from '../images/memory.js';
import { openImageReader } from '../images/reader.js';
import { describeImages, type ImageSource } from '../images/source.js';
import { requireContentOf } from './images-of.js';
import { imageSetupOf } from './setup.js';

/** Images decoded at a time. */
const CONCURRENCY = 4;

/** Renders the views of a pruned archive's rows. */
export class RowViews implements Disposable {
  readonly #archive: LabelArchive;
  readonly #reader: ImageReader;
  readonly #spec: AnyAugmentationSpec;
  readonly #normalisation: Normalisation;
  readonly #recorded = new Map<number, Promise<RecordedRows>>();

  private constructor(
    archive: LabelArchive,
    reader: ImageReader,
    spec: AnyAugmentationSpec,
    normalisation: Normalisation,
  ) {
    this.#archive = archive;
    this.#reader = reader;
    this.#spec = spec;
    this.#normalisation = normalisation;
  }

  static async open(
    archive: LabelArchive,
    images: ImageSource | MemoryImages,
    given: Normalisation | undefined,
  ): Promise<RowViews> {
    const { views, normalisation } = imageSetupOf(archive, images, given);
    const [{ augmentation }] = views;
    await requireContentOf(archive, images);
    const options = { concurrency: CONCURRENCY };
    const reader = await openImageReader(describeImages(images), options);
    return new RowViews(archive, reader, augmentation, normalisation);
  }

  /** float32 [samples, height, width, 3]. */
  render(row: number, labels: RowLabels): Promise<Float32Array> {
    const spec = this.#spec;
    return spec.generator === 'recorded'
      ? this.#renderRecorded(row, labels, spec)
      : this.#renderDrawn(labels, spec);
  }

  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
  }

  async #renderDrawn({ epoch, samples }: RowLabels, spec: AugmentationSpec): Promise<Float32Array> {
    const augmenter = Augmenter.unsized(spec, this.#reader.count);
    const partners = samples.map((sample) => augmenter.mix(epoch, sample).partner);
    const pixels = await this.#reader.read(concatenateIds(samples, partners));
    return this.#render(augmenter, pixels, epoch, samples);
  }

  /** Views, and the partners in them, are recorded by position in the row: an image may be in it twice. */
  async #renderRecorded(row: number, { samples }: RowLabels, spec: AnyAugmentationSpec) {
    const columns = findRecordedColumns(this.#archive.manifest.columns, this.#archive.samples);
    const rows =
      this.#recorded.get(row) ??
      this.#readRecorded(
        row,
        columns.map(({ name }) => name),
      );
    this.#recorded.set(row, rows);
    const recorded = new RecordedAugmentations(spec.size, columns, await rows, renderingOf(spec));
    const pixels = await this.#reader.read(samples);
    const byPosition: PixelSource = {
      count: samples.length,
      sizeOf: (position) => pixels.sizeOf(samples[position]),
      pixels: (position) => pixels.pixels(samples[position]),
    };
    return this.#render(
      recorded,
      byPosition,
      row,
      samples.map((_, position) => position),
    );
  }

  async #readRecorded(row: number, names: readonly string[]): Promise<RecordedRows> {
    const columns = names.map(async (name) => [name, await this.#archive.readRow(row, name)]);
    return Object.fromEntries(await Promise.all(columns));
  }

  #render(
    augmentations: Augmenter | RecordedAugmentations,
    pixels: PixelSource,
    epoch: number,
    samples: Uint32Array,
  ): Float32Array {
    const [height, width] = augmentations.size;
    const xs = new Float32Array(samples.length * height * width * 3);
    renderViews(augmentations, pixels, epoch, samples, this.#normalisation, xs);
    return xs;
  }
}
