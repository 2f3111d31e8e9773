import type { LabelArchive } from '../archive/archive.js';
import { commonAugmentation } from '../archive/parted-archive.js';
import { renderingOf } from '../augment/spec.js';
import { argument, FieldChecker } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import type { ImageSource } from '../images/source.js';
import { loadKernels } from '../kernels/load.js';
import { openImagesOf } from '../loader/images-of.js';
import { openArchive } from '../pipeline/open-archive.js';
import { requireOutput } from '../pipeline/preflight.js';
import { writeFkd } from './exports/fkd.js';
import { NewFolder } from './exports/folder.js';
import { LabelRows } from './exports/label-rows.js';
import { writeSre2l } from './exports/sre2l.js';
import { writeTinyVit } from './exports/tinyvit.js';
import { type ExportedViews, exportedViews } from './exports/views.js';
import { namesOf } from './image-names.js';
import type { DrawsPerEpoch } from './random-sampler.js';

export const EXPORT_LAYOUTS = ['sre2l', 'fkd', 'tinyvit'] as const;
export type ExportLayout = (typeof EXPORT_LAYOUTS)[number];

export interface ExportOptions {
  /** Directory of an archive. */
  readonly source: string;
  readonly to: ExportLayout;
  /** Folder to write; must not exist, or be empty. */
  readonly out: string;
  /** The labelled images: names for FKD and TinyViT, sizes where crops are in pixels or drawn from a seed. */
  readonly images?: string;
  /** Part of an ImageNet-style tree. */
  readonly split?: string;
  /** SRe2L: labels per file, which is the batch size that its training must use; default: that of the import, or 1024. */
  readonly batch?: number;
  /** SRe2L: seed of the sampler; default: that of the import, or 42. */
  readonly orderSeed?: number;
  /** SRe2L: permutations that the student's torch draws for an epoch; default: those of the import, or 2. */
  readonly drawsPerEpoch?: 1 | 2;
  /** FKD and TinyViT: classes kept; default: those of the import, or 5 and 100. */
  readonly top?: number;
  /** FKD and TinyViT: temperature of the probabilities; default 1. */
  readonly tau?: number;
  /** Labels written, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface ExportResult {
  readonly to: ExportLayout;
  readonly labels: number;
  readonly epochs: number;
  readonly images: number;
  readonly classes: number;
  readonly files: number;
  readonly bytes: number;
  /** SRe2L. */
  readonly batch?: number;
  /** FKD and TinyViT. */
  readonly top?: number;
  readonly notes: readonly string[];
}

/** Batch size of SRe2L's training script. */
const SRE2L_BATCH = 1024;
const ORDER_SEED = 42;
const TOP = { fkd: 5, tinyvit: 100 } as const;

/**
 * Writes an archive's labels as the training scripts of SRe2L, FKD or TinyViT read them; `torch.load` takes the files
 * with `weights_only=True`. The folder appears once it is complete.
 *
 * @throws `UNSUPPORTED` naming what the layout cannot express, `ALREADY_EXISTS` if the folder is not empty.
 */
export async function exportLabels(options: ExportOptions): Promise<ExportResult> {
  checkOptions(options);
  const { source, to, out, images: path, split, onProgress, signal } = options;
  await using archive = await openArchive(source);
  await requireOutput('out', out, [{ what: 'the archive', path: source }]);
  requireUnpruned(archive);
  const images = path === undefined ? undefined : await openImagesOf(archive, path, { split });
  requireOneKind(archive);
  using rows = new LabelRows(archive, loadKernels());
  const settings = settingsOf(archive, options);
  if (to !== 'sre2l') rows.requireTau(settings.tau);
  const names = to === 'sre2l' ? [] : namesOf(requireImages(images, to));
  const views = to === 'tinyvit' ? undefined : await exportedViews(archive, images);
  const { samples, classes, epochs } = archive;
  const onLabels = (done: number) => onProgress?.(done, epochs * samples);
  const onEpoch = (done: number) => onLabels(done * samples);
  await using folder = await NewFolder.create(out);
  const common = { ...{ samples, classes, epochs, rows, signal }, onEpoch, onLabels, ...settings };
  if (views === undefined) await writeTinyVit(folder, { ...common, archive, images: names });
  else if (to === 'fkd') await writeFkd(folder, { ...common, images: names, views });
  else await writeSre2l(folder, { ...common, views });
  await folder.finish();
  const { files, bytes } = folder;
  return {
    ...{ to, labels: epochs * samples, epochs, images: samples, classes, files, bytes },
    ...(to === 'sre2l' ? { batch: settings.batch } : { top: settings.top }),
    notes: notesOf(archive, to, settings.top, views),
  };
}

function checkOptions({ to, batch, orderSeed, drawsPerEpoch, top, tau }: ExportOptions): void {
  argument.oneOf(to, 'to', EXPORT_LAYOUTS);
  if (batch !== undefined) argument.count(batch, 'batch', 1);
  if (orderSeed !== undefined) argument.count(orderSeed, 'orderSeed', 0, 2 ** 32 - 1);
  if (drawsPerEpoch !== undefined) argument.count(drawsPerEpoch, 'drawsPerEpoch', 1, 2);
  if (top !== undefined) argument.count(top, 'top', 1);
  if (tau !== undefined) argument.positive(tau, 'tau');
}

function requireUnpruned({ manifest }: LabelArchive): void {
  if (manifest.pruning === undefined) return;
  throw new SoftpackError('UNSUPPORTED', 'these layouts have a label of every image per epoch', {
    field: 'source',
    expected: 'an archive that was not pruned',
    found: 'one whose rows are batches',
  });
}

/** Parts may differ in codec and temperature; views and columns are read as those of one archive. */
function requireOneKind(archive: LabelArchive): void {
  commonAugmentation(archive);
  const columnsOf = ({ manifest }: LabelArchive) =>
    manifest.columns.map(({ name, dtype }) => `${name} ${dtype}`).join(', ');
  const [expected, ...others] = archive.parts.map(columnsOf);
  const found = others.find((columns) => columns !== expected);
  if (found === undefined) return;
  const details = { field: 'source', expected, found };
  throw new SoftpackError('UNSUPPORTED', 'parts of this archive have other columns', details);
}

function requireImages(images: ImageSource | undefined, to: ExportLayout): ImageSource {
  if (images !== undefined) return images;
  throw new SoftpackError('INVALID_ARGUMENT', 'label files are named after images', {
    field: 'images',
    expected: `the images of the archive, for ${to}`,
  });
}

/** What was asked for, else what an import recorded, else what the scripts use. */
function settingsOf(archive: LabelArchive, options: ExportOptions) {
  const check = new FieldChecker('manifest.json: teacher', 'INVALID_FILE');
  const imported = Object(Object(archive.manifest.teacher).imported) as Record<string, unknown>;
  const order = Object(imported.order) as Record<string, unknown>;
  const known = (value: unknown, field: string, least: number, most: number) =>
    value === undefined ? undefined : check.count(value, field, least, most);
  const { samples, classes } = archive;
  const own = options.to === 'sre2l' ? undefined : TOP[options.to];
  return {
    batch: Math.min(
      samples,
      options.batch ?? known(imported.batch, 'batch', 1, 2 ** 31) ?? SRE2L_BATCH,
    ),
    orderSeed: options.orderSeed ?? known(order.seed, 'seed', 0, 2 ** 32 - 1) ?? ORDER_SEED,
    drawsPerEpoch: (options.drawsPerEpoch ??
      known(order.drawsPerEpoch, 'drawsPerEpoch', 1, 2) ??
      2) as DrawsPerEpoch,
    top: Math.min(classes, options.top ?? known(imported.k, 'k', 1, classes) ?? own ?? classes),
    tau: options.tau ?? 1,
  };
}

function notesOf(
  { manifest, classes }: LabelArchive,
  to: ExportLayout,
  top: number,
  views: ExportedViews | undefined,
): readonly string[] {
  const notes: string[] = [];
  const pil = renderingOf(views?.spec ?? {});
  if (views !== undefined && (pil.resample !== 'antialias' || pil.round !== 'u8')) {
    notes.push(
      'their scripts resize as PIL does; these labels were made of views resized in another way',
    );
  }
  if (manifest.images?.fit != null) {
    notes.push(
      'larger images were made smaller before they were labelled; their scripts crop the files as they are',
    );
  }
  if (to === 'fkd' && top !== 5 && top !== 10 && top < classes) {
    notes.push(`FKD knows marginal_smoothing of 5 and 10 classes; with ${top} use marginal_renorm`);
  }
  return notes;
}
