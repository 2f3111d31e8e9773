import type { LabelArchive } from '../../archive/archive.js';
import { wholeColumns } from '../../archive/parted-archive.js';
import { Augmenter } from '../../augment/augmenter.js';
import { findRecordedColumns, type RecordedRows } from '../../augment/recorded.js';
import {
  type AnyAugmentationSpec,
  type AugmentationSpec,
  parseAnyAugmentationSpec,
} from '../../augment/spec.js';
import { viewOf } from '../../container/torch/zip.js';
import { SoftpackError } from '../../errors.js';
import type { ImageSource } from '../../images/source.js';
import { imageSizes } from '../image-sizes.js';

/** How one label's image was made. */
export interface ExportedView {
  /** (top, left, height, width) as shares of the image. */
  readonly crop: readonly [number, number, number, number];
  readonly flip: boolean;
}

export interface ExportedMix {
  readonly partner: number;
  readonly box: readonly [number, number, number, number];
  readonly weight: number;
}

/** Views of one epoch by sample. */
export interface EpochViews {
  view(sample: number): ExportedView;
  /** As it is recorded; only where {@link ExportedViews.mix} is not `none`. */
  mix(sample: number): ExportedMix;
}

export interface ExportedViews {
  readonly size: readonly [number, number];
  readonly spec: AnyAugmentationSpec;
  readonly mix: 'none' | 'cutmix' | 'mixup' | 'both';
  epoch(epoch: number): Promise<EpochViews>;
}

/**
 * The views of an archive in the terms of other projects.
 *
 * @throws `UNSUPPORTED` if it has none, `INVALID_ARGUMENT` if crops are in pixels and no images are given.
 */
export async function exportedViews(
  archive: LabelArchive,
  images: ImageSource | undefined,
): Promise<ExportedViews> {
  const { augmentation } = archive.manifest;
  if (augmentation === null) {
    throw unsupported('augmentation', 'labels have no views', 'recorded or seeded views', 'none');
  }
  const spec = parseAnyAugmentationSpec(augmentation, 'manifest.json: augmentation');
  if (spec.generator !== 'recorded') return seededViews(archive, spec, await sizesOf(images));
  const recorded = findRecordedColumns(wholeColumns(archive), archive.samples);
  const has = (name: string) => recorded.some((column) => column.name === name);
  const shares = recorded.find(({ name }) => name === 'crop')?.dtype === 'F32';
  const sizes = shares ? undefined : await sizesOf(images);
  return {
    size: spec.size,
    spec,
    mix: has('box') ? (has('weight') ? 'both' : 'cutmix') : has('weight') ? 'mixup' : 'none',
    async epoch(epoch) {
      const rows: Record<string, Uint8Array> = {};
      for (const { name } of recorded) rows[name] = await archive.readRow(epoch, name);
      return recordedViews(rows, sizes);
    },
  };
}

type Sizes = Uint32Array;

function seededViews(archive: LabelArchive, spec: AugmentationSpec, sizes: Sizes): ExportedViews {
  const sizeOf = (sample: number) => [sizes[2 * sample], sizes[2 * sample + 1]] as const;
  const augmenter = new Augmenter(spec, { count: sizes.length / 2, sizeOf });
  return {
    size: spec.size,
    spec,
    mix: spec.mix.kind,
    async epoch(served) {
      const epoch = archive.storedEpoch(served);
      return {
        view: (sample) => ({
          crop: inShares(augmenter.crop(epoch, sample), sizes, sample),
          flip: augmenter.flip(epoch, sample) === 1,
        }),
        mix: (sample) => augmenter.mix(epoch, sample),
      };
    },
  };
}

function recordedViews(rows: RecordedRows, sizes: Sizes | undefined): EpochViews {
  const of = (name: keyof RecordedRows) => viewOf(rows[name] ?? new Uint8Array());
  const [crop, partner, box, weight] = [of('crop'), of('partner'), of('box'), of('weight')];
  return {
    view(sample) {
      const at = (i: number) =>
        sizes === undefined
          ? crop.getFloat32(16 * sample + 4 * i, true)
          : crop.getUint16(8 * sample + 2 * i, true);
      const four = [at(0), at(1), at(2), at(3)] as const;
      return {
        crop: sizes === undefined ? four : inShares(four, sizes, sample),
        flip: rows.flip?.[sample] === 1,
      };
    },
    mix(sample) {
      const at = (i: number) =>
        box.byteLength === 0 ? 0 : box.getUint16(8 * sample + 2 * i, true);
      return {
        partner: partner.getUint32(4 * sample, true),
        box: [at(0), at(1), at(2), at(3)],
        weight: weight.byteLength === 0 ? 1 : weight.getFloat32(4 * sample, true),
      };
    },
  };
}

function inShares(
  [top, left, height, width]: readonly [number, number, number, number],
  sizes: Sizes,
  sample: number,
): ExportedView['crop'] {
  const [rows, columns] = [sizes[2 * sample], sizes[2 * sample + 1]];
  return [top / rows, left / columns, height / rows, width / columns];
}

function sizesOf(images: ImageSource | undefined): Promise<Sizes> {
  if (images !== undefined) return imageSizes(images);
  throw new SoftpackError('INVALID_ARGUMENT', 'crops are in pixels: their shares need the images', {
    field: 'images',
    expected: 'the images that the labels belong to',
  });
}

export function unsupported(
  field: string,
  message: string,
  expected: string,
  found: unknown,
): SoftpackError {
  return new SoftpackError('UNSUPPORTED', message, { field, expected, found });
}
