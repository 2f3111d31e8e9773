import type { LabelArchive } from '../../archive/archive.js';
import { viewOf } from '../../container/torch/zip.js';
import { toHalf } from '../../core/half.js';
import { throwIfAborted } from '../../errors.js';
import { syncFile } from '../../store/sync-file.js';
import type { NewFolder } from './folder.js';
import type { LabelRows } from './label-rows.js';
import { topClasses } from './top-classes.js';
import { unsupported } from './views.js';

export interface TinyVitExport {
  readonly archive: LabelArchive;
  /** Paths of the images below their folder, by sample id. */
  readonly images: readonly string[];
  /** Classes kept. */
  readonly top: number;
  readonly tau: number;
  readonly rows: LabelRows;
  readonly onEpoch: (done: number) => void;
  readonly signal?: AbortSignal;
}

/** Class ids are int16. */
const MAX_CLASSES = 32_768;
/** Records written at a time. */
const CHUNK = 4096;

/** `logits_top{k}_epoch{e}/rank0-keys.txt` and `rank0-values.bin`: seed, class ids, probabilities. */
export async function writeTinyVit(folder: NewFolder, options: TinyVitExport): Promise<void> {
  const { archive, images, top, tau, rows, signal } = options;
  const { classes, epochs, samples, manifest } = archive;
  const seeds = manifest.columns.find(({ name }) => name === 'seed');
  if (manifest.augmentation !== null || seeds?.dtype !== 'U32') {
    const found = manifest.augmentation === null ? 'no seeds' : 'crops and flips';
    const expected =
      'a column of the seeds that timm draws views from, as an import of TinyViT has';
    throw unsupported('augmentation', 'TinyViT keeps a seed per view', expected, found);
  }
  if (classes > MAX_CLASSES) {
    const expected = `at most ${MAX_CLASSES}: class ids are int16`;
    throw unsupported('classes', 'too many classes', expected, classes);
  }
  const keys = Buffer.from(images.map((name) => `${name}\n`).join(''));
  for (let epoch = 0; epoch < epochs; epoch++) {
    const halves = await rows.probabilities(epoch, tau);
    const seedRow = viewOf(await archive.readRow(epoch, 'seed'));
    const name = `logits_top${top}_epoch${epoch}/rank0`;
    await folder.write(`${name}-keys.txt`, keys);
    const file = await folder.open(`${name}-values.bin`);
    try {
      for (let start = 0; start < samples; start += CHUNK) {
        throwIfAborted(signal);
        const count = Math.min(CHUNK, samples - start);
        const records = Buffer.alloc(count * (4 + 4 * top));
        for (let i = 0; i < count; i++) {
          const at = i * (4 + 4 * top);
          const label = halves.subarray((start + i) * classes, (start + i + 1) * classes);
          const best = topClasses(label, top);
          records.writeUInt32LE(seedRow.getUint32(4 * (start + i), true), at);
          for (let j = 0; j < top; j++) {
            records.writeInt16LE(best.classes[j], at + 4 + 2 * j);
            records.writeUInt16LE(toHalf(best.values[j]), at + 4 + 2 * top + 2 * j);
          }
        }
        await folder.append(file, records, start * (4 + 4 * top));
      }
      await syncFile(file);
    } finally {
      await file.close();
    }
    options.onEpoch(epoch + 1);
  }
}
