import type { LabelArchive, PartOfEpoch } from '../archive/archive.js';
import { labelsOfRow } from '../archive/read-labels.js';
import { Augmenter } from '../augment/augmenter.js';
import type { Augmentations } from '../augment/record.js';
import { findRecordedColumns, RecordedAugmentations } from '../augment/recorded.js';
import { AS_PIXELS, type PixelSource, renderViews } from '../augment/replay.js';
import {
  type AnyAugmentationSpec,
  parseAnyAugmentationSpec,
  type RecordedAugmentationSpec,
  renderingOf,
} from '../augment/spec.js';
import { sampleIds } from '../core/samples.js';
import { SoftpackError } from '../errors.js';
import type { ImageReader } from '../images/image-reader.js';
import { loadLibvips } from '../images/libvips.js';
import { openImageReader } from '../images/reader.js';
import type { ImageSource } from '../images/source.js';
import { openImagesOf } from '../loader/images-of.js';

/** Longest side of a thumbnail, pixels: sharp on a dense screen at the size that pages show. */
const THUMBNAIL = 192;
const QUALITY = 85;

/** Renders single views of an archive's labels as the teacher saw them, as small images. */
export class ViewImages implements AsyncDisposable {
  readonly images: ImageSource;
  readonly #archive: LabelArchive;
  readonly #reader: ImageReader;
  /** Views of one call at a time: the reader's memory is reused. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(archive: LabelArchive, images: ImageSource, reader: ImageReader) {
    this.#archive = archive;
    this.images = images;
    this.#reader = reader;
  }

  /** @throws What `openImagesOf` throws; `TOOL_MISSING` without sharp. */
  static async open(
    archive: LabelArchive,
    path: string | readonly string[],
    { split }: { readonly split?: string } = {},
  ): Promise<ViewImages> {
    await loadLibvips();
    const images = await openImagesOf(archive, path, { split });
    return new ViewImages(archive, images, await openImageReader(images.description));
  }

  /** The view of one label as a `data:` address. */
  render(row: number, position: number): Promise<string> {
    const view = this.#last.then(() => this.#render(row, position));
    this.#last = view.catch(() => undefined);
    return view;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#reader[Symbol.dispose]();
  }

  async #render(row: number, position: number): Promise<string> {
    const part = this.#archive.partOf(row, position);
    const own = position - part.samples[0];
    const spec = specOf(part);
    const [height, width] = spec.size;
    const out = new Float32Array(height * width * 3);
    if (spec.generator === 'recorded') await this.#recorded(part, own, spec, out);
    else await this.#drawn(part, own, Augmenter.unsized(spec, samplesOf(part)), out);
    const bytes = Uint8Array.from(out, (value) =>
      Math.round(255 * Math.min(1, Math.max(0, value))),
    );
    const sharp = await loadLibvips();
    const image = sharp(bytes, { raw: { width, height, channels: 3 } });
    const isSmall = Math.max(height, width) <= THUMBNAIL / 2;
    const data = isSmall
      ? await image.png().toBuffer()
      : await image
          .resize(THUMBNAIL, THUMBNAIL, { fit: 'inside', withoutEnlargement: true })
          .jpeg({ quality: QUALITY })
          .toBuffer();
    return `data:image/${isSmall ? 'png' : 'jpeg'};base64,${data.toString('base64')}`;
  }

  async #drawn(part: PartOfEpoch, own: number, augmenter: Augmenter, out: Float32Array) {
    const { epoch, samples } = await labelsOfRow(part.archive, part.epoch, Uint32Array.of(own));
    const [sample] = sampleIds(samples);
    const { partner } = augmenter.mix(epoch, sample);
    const pixels = await this.#pixels(part, (id) => id, [sample, partner]);
    renderViews(augmenter, pixels, epoch, Uint32Array.of(sample), AS_PIXELS, out);
  }

  /** Recorded views, and the partners in them, are counted by position in the row: an image may be in it twice. */
  async #recorded(
    { archive, epoch: row, ...part }: PartOfEpoch,
    own: number,
    spec: RecordedAugmentationSpec,
    out: Float32Array,
  ) {
    const columns = findRecordedColumns(archive.manifest.columns, archive.samples);
    const rows = Object.fromEntries(
      await Promise.all(columns.map(async ({ name }) => [name, await archive.readRow(row, name)])),
    );
    const views: Augmentations = new RecordedAugmentations(
      spec.size,
      columns,
      rows,
      renderingOf(spec),
    );
    const { partner } = views.mix(row, own);
    const positions = Uint32Array.of(own, partner);
    const ids = sampleIds((await labelsOfRow(archive, row, positions)).samples);
    const idOf = (position: number) => ids[position === own ? 0 : 1];
    const pixels = await this.#pixels({ ...part, archive, epoch: row }, idOf, [own, partner]);
    renderViews(views, pixels, row, Uint32Array.of(own), AS_PIXELS, out);
  }

  /** Pixels by the numbers that views use. @param idOf sample of a number, counted from the part's first. */
  async #pixels(
    { samples: [first] }: PartOfEpoch,
    idOf: (number: number) => number,
    numbers: readonly number[],
  ): Promise<PixelSource> {
    const pixels = await this.#reader.read(Uint32Array.from(numbers, (n) => first + idOf(n)));
    return {
      count: this.#reader.count,
      sizeOf: (number) => pixels.sizeOf(first + idOf(number)),
      pixels: (number) => pixels.pixels(first + idOf(number)),
    };
  }
}

function specOf({ archive: { manifest } }: PartOfEpoch): AnyAugmentationSpec {
  const { augmentation } = manifest;
  if (augmentation !== null) {
    return parseAnyAugmentationSpec(augmentation, 'manifest.json: augmentation');
  }
  throw new SoftpackError('UNSUPPORTED', 'this archive does not say how its images were made', {
    field: 'manifest.json: augmentation',
  });
}

function samplesOf({ archive: { manifest, samples } }: PartOfEpoch): number {
  return manifest.pruning?.samples ?? samples;
}
