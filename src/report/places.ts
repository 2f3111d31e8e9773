import type { LabelArchive } from '../archive/archive.js';
import { labelsOfRow } from '../archive/read-labels.js';
import { samplesByPart } from '../archive/samples-by-part.js';
import { sampleIds } from '../core/samples.js';

/** The view that a label belongs to. */
export interface Place {
  /** Epoch by which the view is drawn; without a record of views, that of the label. */
  readonly epoch: number;
  /** Sample, counted over the whole archive. */
  readonly sample: number;
  /** What is mixed into the view, and the share of the own pixels; absent if the archive does not say. */
  readonly mix?: { readonly partner: number; readonly share: number };
}

/** Views of the labels at some positions of a row, which is an epoch or, in a pruned archive, a batch. */
export async function placesOf(
  archive: LabelArchive,
  row: number,
  positions: Uint32Array,
): Promise<readonly Place[]> {
  const places: Place[] = [];
  for (const { part, positions: at, own } of samplesByPart(archive.partsOf(row), positions)) {
    const [first] = part.samples;
    const labels = await labelsOfRow(part.archive, part.epoch, own, { usesViews: true });
    const ids = sampleIds(labels.samples);
    // Epochs of an appended part count on if nothing says that their views begin again.
    const { augmentation, pruning } = part.archive.manifest;
    const before = augmentation === null && pruning === undefined ? row - part.epoch : 0;
    for (const [i, position] of at.entries()) {
      const { partner, lambda } = labels.augmentation ?? {};
      const mix = partner && lambda && { partner: first + partner[i], share: lambda[i] };
      places[position] = {
        epoch: before + labels.epoch,
        sample: first + ids[i],
        ...(mix && { mix }),
      };
    }
  }
  return places;
}

/** Temperature of the labels of a row as `labels` decodes them. */
export function rowTemperature(archive: LabelArchive, row: number): number {
  const { pruning, tau } = archive.manifest;
  return pruning === undefined ? archive.temperatureOf(row) : tau;
}
