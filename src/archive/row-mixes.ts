import { Augmenter } from '../augment/augmenter.js';
import { mixesOf } from '../augment/mixes.js';
import type { Augmentations } from '../augment/record.js';
import { findRecordedColumns, RecordedAugmentations } from '../augment/recorded.js';
import { parseAnyAugmentationSpec, renderingOf } from '../augment/spec.js';
import { sampleIds } from '../core/samples.js';
import type { LabelsOf } from '../labels/source.js';
import type { LabelViews, ViewUse } from '../labels/views.js';
import type { Manifest } from './manifest.js';
import { isDrawn } from './pruning.js';

/** The part of an archive that tells what is mixed into the views of its labels. */
export interface MixedRows {
  readonly manifest: Pick<Manifest, 'augmentation' | 'columns' | 'samples' | 'pruning'>;
  readRow(row: number, column: string): Promise<Uint8Array>;
}

interface RowUse {
  readonly whole?: Uint32Array;
  readonly views?: ViewUse;
}

/**
 * What is mixed into the views of labels at some positions of a stored row; absent if there is no record of it.
 *
 * @param use the samples of the whole row, where that is no epoch, and what of the views is looked at.
 */
export async function mixesOfRow(
  archive: MixedRows,
  row: number,
  { epoch, samples }: LabelsOf,
  positions: LabelsOf['samples'],
  { whole, views: use = true }: RowUse = {},
): Promise<LabelViews | undefined> {
  const { augmentation, columns, samples: width, pruning } = archive.manifest;
  if (augmentation === null) return undefined;
  const spec = parseAnyAugmentationSpec(augmentation, 'manifest.json: augmentation');
  if (spec.generator !== 'recorded') {
    const views = Augmenter.unsized(spec, pruning?.samples ?? width);
    return mixesOf(views, epoch, sampleIds(samples));
  }
  const recorded = findRecordedColumns(columns, width);
  const mixing = ['partner', 'box', 'weight', ...(use === 'shown' ? ['crop', 'flip'] : [])];
  const used = recorded.filter(({ name }) => mixing.includes(name));
  const rows = used.map(async ({ name }) => [name, await archive.readRow(row, name)]);
  const read = Object.fromEntries(await Promise.all(rows));
  const rendering = renderingOf(spec);
  const views: Augmentations = new RecordedAugmentations(spec.size, recorded, read, rendering);
  const { placesIn, ...others } = mixesOf(views, row, sampleIds(positions));
  // Crops in pixels tell little without the size of the image.
  const told =
    use === 'shown' && recorded.some(({ name, dtype }) => name === 'crop' && dtype === 'F32');
  const mixes = { ...others, ...(told && { placesIn }) };
  // Listed rows name partners by their position.
  const listed = pruning !== undefined && !isDrawn(pruning);
  if (!listed || whole === undefined) return mixes;
  return { ...mixes, partner: mixes.partner.map((position) => whole[position]) };
}
