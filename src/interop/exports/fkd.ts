import { torchFileOf } from '../../container/torch/write.js';
import { throwIfAborted } from '../../errors.js';
import { fkdFileOf, requireDistinct } from '../layouts/fkd.js';
import type { NewFolder } from './folder.js';
import type { LabelRows } from './label-rows.js';
import { tensor } from './sre2l.js';
import { topClasses } from './top-classes.js';
import { type ExportedViews, unsupported } from './views.js';

export interface FkdExport {
  /** Paths of the images below their folder, by sample id. */
  readonly images: readonly string[];
  readonly classes: number;
  readonly epochs: number;
  /** Classes kept. */
  readonly top: number;
  readonly tau: number;
  readonly rows: LabelRows;
  readonly views: ExportedViews;
  readonly onLabels: (done: number) => void;
  readonly signal?: AbortSignal;
}

/** Labels in memory at a time, bytes: files hold one image in all epochs, rows all images of one. */
const BLOCK_BYTES = 256 * 2 ** 20;

/** One file per image: coords [epochs, 4], flip [epochs], (class ids, probabilities) [epochs, 2, k]. */
export async function writeFkd(folder: NewFolder, options: FkdExport): Promise<void> {
  const { images, classes, epochs, top, tau, rows, views, signal } = options;
  if (views.mix !== 'none') {
    throw unsupported(
      'augmentation.mix',
      'FKD mixes images and labels while it trains: its files hold plain views',
      'crops and flips',
      views.mix,
    );
  }
  requireDistinct('', images);
  const each = epochs * (8 * top + 17);
  const block = Math.min(images.length, Math.max(1, Math.floor(BLOCK_BYTES / each)));
  for (let start = 0; start < images.length; start += block) {
    const count = Math.min(block, images.length - start);
    const coords = new Float32Array(count * epochs * 4);
    const flips = new Uint8Array(count * epochs);
    const labels = new Float32Array(count * epochs * 2 * top);
    for (let epoch = 0; epoch < epochs; epoch++) {
      throwIfAborted(signal);
      const halves = await rows.probabilities(epoch, tau);
      const epochViews = await views.epoch(epoch);
      for (let i = 0; i < count; i++) {
        const sample = start + i;
        const at = i * epochs + epoch;
        const label = topClasses(halves.subarray(sample * classes, (sample + 1) * classes), top);
        labels.set(label.classes, 2 * top * at);
        labels.set(label.values, 2 * top * at + top);
        const { crop, flip } = epochViews.view(sample);
        coords.set(crop, 4 * at);
        flips[at] = flip ? 1 : 0;
      }
      options.onLabels(start * epochs + (epoch + 1) * count);
    }
    for (let i = 0; i < count; i++) {
      throwIfAborted(signal);
      const part = <T extends { subarray(from: number, to: number): T }>(all: T, length: number) =>
        all.subarray(i * length, (i + 1) * length);
      const content = [
        tensor('F32', [epochs, 4], part(coords, 4 * epochs)),
        tensor('BOOL', [epochs], part(flips, epochs)),
        tensor('F32', [epochs, 2, top], part(labels, 2 * top * epochs)),
      ];
      await folder.write(fkdFileOf(images[start + i]), torchFileOf(content));
    }
  }
}
