import type { ArchiveBytes } from '../archive/archive.js';
import { createArchive, requireUnfinished } from '../archive/create.js';
import { callRecord } from '../archive/provenance.js';
import { batchesPerEpoch, type Pruning } from '../archive/pruning.js';
import type { Rendering } from '../augment/replay.js';
import { PIL_RENDERING, renderingOf } from '../augment/spec.js';
import { NoneCodec } from '../codecs/none.js';
import { argument } from '../core/check.js';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { imagesFingerprint } from '../images/fingerprint.js';
import { openImages } from '../images/open.js';
import type { ImageSource } from '../images/source.js';
import { RESAMPLES, ROUNDS } from '../kernels/augment-args.js';
import { openArchive } from '../pipeline/open-archive.js';
import { DEFAULT_SIZE, DEFAULT_TAU } from './defaults.js';
import { detectLayout } from './detect.js';
import { columnsOf, EpochRow } from './epoch-row.js';
import { namesOf } from './image-names.js';
import { imageSizes } from './image-sizes.js';
import { openBatched } from './import-batched.js';
import { fkdLabels } from './layouts/fkd.js';
import { LAYOUTS, type LabelSet, type Layout } from './layouts/label-set.js';
import type { Rest } from './layouts/label-values.js';
import { tinyVitLabels } from './layouts/tinyvit.js';
import type { Agreement } from './order-proof.js';

/** {@link Rendering}: by default as PIL does, which rendered the views of these labels. */
export interface ImportOptions extends Rendering {
  /** Folder of label files. */
  readonly source: string;
  /** Their layout; by default told by the names of the files. */
  readonly from?: Layout;
  /** The images that the labels belong to, as `openImages` finds them: one folder per class. */
  readonly images: string;
  /** Part of an ImageNet-style tree. */
  readonly split?: string;
  /** Directory of the archive to write; an interrupted import is resumed. */
  readonly out: string;
  /** Height and width of the views, pixels; default 224 x 224. Boxes of CutMix are in these pixels. */
  readonly size?: readonly [number, number];
  /** Number of classes, where the files do not say it; default: the number of class folders. */
  readonly classes?: number;
  /** Temperature of the labels; default 20 for logits and HALD, always 1 for FKD and TinyViT. */
  readonly tau?: number;
  /** LPQLD: what the stored values are. Its two forms look alike. */
  readonly values?: 'logits' | 'probabilities';
  /** FKD: what other classes get, `zero` for `marginal_renorm`; default `uniform`. */
  readonly rest?: Rest;
  /** SRe2L and CDA: seed of the sampler; default 42, as in their scripts. */
  readonly orderSeed?: number;
  /**
   * Epochs that a student trains for with batches drawn from the files', where these do not hold whole epochs (LPLD and
   * LPQLD with pruning); default: as many as the batches make up.
   */
  readonly epochs?: number;
  /**
   * `shares` (default) keeps crops as the files do, 16 bytes per label; `pixels` of the images takes 8 and gives the same
   * views, but decodes every image once to learn its size.
   */
  readonly crops?: 'shares' | 'pixels';
  /** `false` imports labels alone, e.g. where views cannot be replayed; default `true`. */
  readonly views?: boolean;
  /** Labels written, of all. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface ImportResult {
  readonly layout: Layout;
  readonly labels: number;
  readonly epochs: number;
  readonly images: number;
  /** Rows of the archive that are batches instead of epochs: their number and size. */
  readonly batches?: { readonly count: number; readonly size: number };
  readonly classes: number;
  readonly views: 'recorded' | 'none';
  /** SRe2L and CDA: permutations that torch drew for an epoch, proved by `agreement`. */
  readonly drawsPerEpoch?: 1 | 2;
  /** Top class of the labels against the folder of their image, in the epoch that was looked at. */
  readonly agreement?: Agreement;
  readonly notes: readonly string[];
  readonly bytes: ArchiveBytes;
}

export const CROPS = ['shares', 'pixels'] as const;

/** Rows in memory at a time, bytes, where files hold one image in all epochs. */
const ROWS_BYTES = 256 * 2 ** 20;

/**
 * Writes the labels of another project's files into an archive of uncompressed labels (codec `none`), with the views
 * that they belong to: `packLogits` takes it like any other. Labels keep the file's half floats bit by bit; wider
 * floats are rounded.
 *
 * @throws `INVALID_FILE` naming file and field for anything that contradicts the layout, `UNSUPPORTED` for views that
 *   cannot be replayed and for batches of several sizes that are not epochs, `INCOMPLETE` if images have no label.
 */
export async function importLabels(options: ImportOptions): Promise<ImportResult> {
  checkOptions(options);
  const { source, out, onProgress, signal } = options;
  const { resample = PIL_RENDERING.resample, round = PIL_RENDERING.round } = options;
  await requireUnfinished(out);
  const layout = options.from ?? (await detectLayout(source));
  const images = await openImages(options.images, { split: options.split });
  const { set: found, ...proof } = await openSet(layout, images, options);
  const inPixels = options.crops === 'pixels' && found.kinds.views !== undefined;
  const sizes = inPixels ? await imageSizes(images) : undefined;
  const set = inPixels ? withCrops(found, 'pixels') : found;
  const size = options.size ?? DEFAULT_SIZE;
  const codec = new NoneCodec({
    classes: set.classes,
    tau: set.kind.tau ?? options.tau ?? DEFAULT_TAU,
    store: set.kind.store,
  });
  const pruning = pruningOf(set, images.count, options);
  const samples = set.batch ?? images.count;
  const spec = {
    ...{ classes: set.classes, samples, epochs: set.epochs, tau: codec.tau, pruning },
    codec: codec.parts(),
    layout: codec.layout,
    decoding: codec.decoding,
    augmentation:
      set.kinds.views === undefined
        ? null
        : { generator: 'recorded', size, ...renderingOf({ resample, round }) },
    classNames: images.classNames?.length === set.classes ? images.classNames : undefined,
    teacher: { imported: { from: layout, ...set.origin } },
    images: {
      ...{ id: images.id, count: images.count, fit: null },
      fingerprint: await imagesFingerprint(images, signal),
    },
    columns: columnsOf(samples, set.kinds),
    provenance: callRecord('importLabels', options),
  };
  await using writer = await createArchive(out, spec, { resume: true });
  const each = EpochRow.bytes(samples, set.classes, set.kinds);
  const block = layout === 'fkd' ? Math.max(1, Math.floor(ROWS_BYTES / each)) : 1;
  const rows = Array.from(
    { length: Math.min(block, set.epochs - writer.nextEpoch) },
    () => new EpochRow(samples, set.classes, set.kinds, sizes),
  );
  while (writer.nextEpoch < set.epochs) {
    throwIfAborted(signal);
    const first = writer.nextEpoch;
    const used = rows.slice(0, set.epochs - first);
    await set.read(first, used, signal);
    for (const [i, row] of used.entries()) {
      await writer.writeRow(first + i, row.row(first + i));
      row.clear();
      onProgress?.((first + i + 1) * samples, set.epochs * samples);
    }
  }
  await writer.finish();
  await using archive = await openArchive(out);
  return {
    layout,
    labels: set.epochs * samples,
    epochs: pruning?.epochs ?? set.epochs,
    images: images.count,
    ...(pruning === undefined ? {} : { batches: { count: set.epochs, size: samples } }),
    classes: set.classes,
    views: set.kinds.views === undefined ? 'none' : 'recorded',
    ...proof,
    notes: set.notes,
    bytes: archive.bytes(),
  };
}

function withCrops(set: LabelSet, crop: 'pixels'): LabelSet {
  const { views } = set.kinds;
  return views === undefined ? set : { ...set, kinds: { ...set.kinds, views: { ...views, crop } } };
}

/** Rows of batches: training draws from them for as many epochs as they make up, or as asked for. */
function pruningOf(
  { batch, epochs: rows }: LabelSet,
  samples: number,
  { epochs }: ImportOptions,
): Pruning | undefined {
  const each = batch === undefined ? 0 : batchesPerEpoch({ samples }, batch);
  const least = Math.ceil(rows / each);
  if (batch !== undefined && each > 0 && (epochs ?? least) >= least) {
    return { samples, epochs: epochs ?? least };
  }
  if (batch === undefined && epochs === undefined) return undefined;
  throw new SoftpackError('INVALID_ARGUMENT', 'epochs do not fit the files', {
    field: 'epochs',
    expected: batch === undefined ? 'nothing: files hold whole epochs' : `${least} or more`,
    found: epochs ?? `batches of ${batch} of ${samples} images`,
  });
}

function checkOptions(options: ImportOptions): void {
  const { from, size, classes, tau, orderSeed, resample, round, epochs } = options;
  if (epochs !== undefined) argument.count(epochs, 'epochs', 1);
  if (options.crops !== undefined) argument.oneOf(options.crops, 'crops', CROPS);
  if (resample !== undefined) argument.oneOf(resample, 'resample', RESAMPLES);
  if (round !== undefined) argument.oneOf(round, 'round', ROUNDS);
  if (from !== undefined) argument.oneOf(from, 'from', LAYOUTS);
  for (const side of size ?? []) argument.count(side, 'size', 1, 65_535);
  if (classes !== undefined) argument.count(classes, 'classes', 1);
  if (tau !== undefined) argument.positive(tau, 'tau');
  if (orderSeed !== undefined) argument.count(orderSeed, 'orderSeed', 0, 2 ** 32 - 1);
}

interface OpenedSet {
  readonly set: LabelSet;
  readonly drawsPerEpoch?: 1 | 2;
  readonly agreement?: Agreement;
}

async function openSet(
  layout: Layout,
  images: ImageSource,
  options: ImportOptions,
): Promise<OpenedSet> {
  const { source, tau, rest = 'uniform', views = true } = options;
  if (layout !== 'fkd' && layout !== 'tinyvit') return openBatched(layout, images, options);
  if (tau !== undefined && tau !== 1) {
    const details = { field: 'tau', expected: 1, found: tau };
    throw new SoftpackError('INVALID_ARGUMENT', 'these files keep probabilities at 1', details);
  }
  const classes = options.classes ?? images.classNames?.length;
  if (classes === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'number of classes is not known', {
      field: 'classes',
      expected: 'a number, or images in one folder per class',
    });
  }
  const names = namesOf(images);
  const set =
    layout === 'fkd'
      ? await fkdLabels(source, { images: names, classes, rest })
      : await tinyVitLabels(source, { images: names, classes });
  const { views: _, ...kinds } = set.kinds;
  return { set: views ? set : { ...set, kinds } };
}
