import type { Pruning } from '../archive/pruning.js';
import type { ArchiveSpec } from '../archive/spec.js';
import { Augmenter } from '../augment/augmenter.js';
import type { Augmentations } from '../augment/record.js';
import { findRecordedColumns, RecordedAugmentations } from '../augment/recorded.js';
import { type AnyAugmentationSpec, parseAnyAugmentationSpec } from '../augment/spec.js';
import { argument } from '../core/check.js';
import { sampleIds } from '../core/samples.js';
import { SoftpackError } from '../errors.js';
import type { ImageFit } from '../images/decode.js';
import { openImages } from '../images/open.js';
import {
  adaptLabels,
  type FerkdOptions,
  type FilterName,
  ferkdOptions,
  LABEL_FILTERS,
  type ShownClasses,
} from '../labels/ferkd.js';
import type { LabelPlace, LabelSource } from '../labels/source.js';
import { matchClasses } from './match-classes.js';
import type { SideRows } from './pack-source.js';

/** Change of labels before any codec sees them: FerKD's adaptation, see `adaptLabels`. */
export interface LabelFilter extends FerkdOptions {
  readonly name: FilterName;
  /** Class of every image; or a path of the images, as `openImages` finds them, one folder per class. */
  readonly targets: Uint32Array | string;
}

/** What is known of the labels of a source. */
interface FilteredLabels extends Pick<ArchiveSpec, 'augmentation' | 'classNames' | 'images'> {
  readonly pruning?: Pruning;
  readonly sides?: SideRows;
}

interface FilterOptions
  extends Partial<Pick<ArchiveSpec, 'augmentation' | 'classNames' | 'images'>> {
  readonly filter?: LabelFilter;
}

/** The filter with defaults filled in, and the class of every image. */
export interface OpenFilter extends Required<FerkdOptions> {
  readonly name: LabelFilter['name'];
  readonly targets: Uint32Array;
}

/**
 * The labels as the options' filter changes them, if there is one. `all` stays open when they are closed with it.
 *
 * @throws `INVALID_ARGUMENT` naming the option: other images than the labels', classes that are not known, or an option out
 *   of range.
 */
export async function filtered(
  all: LabelSource,
  { filter, augmentation = null, classNames, images }: FilterOptions,
  rows: Pick<FilteredLabels, 'pruning' | 'sides'>,
): Promise<{ readonly labels: LabelSource; readonly filter?: OpenFilter }> {
  if (filter === undefined) return { labels: all };
  const facts = { augmentation, classNames, images, ...rows };
  const open = await openFilter(filter, all, facts);
  return { labels: filteredSource(all, open, facts), filter: open };
}

async function openFilter(
  { name, targets, ...options }: LabelFilter,
  { classes, samples }: LabelSource,
  { classNames, images, pruning }: FilteredLabels,
): Promise<OpenFilter> {
  argument.oneOf(name, 'filter.name', LABEL_FILTERS);
  const own = { name, ...ferkdOptions(options) };
  const count = pruning?.samples ?? samples;
  const found =
    typeof targets === 'string'
      ? await targetsOf(targets, { classes, classNames }, images)
      : targets;
  const wrong = found.findIndex((target) => target >= classes);
  if (found.length === count && wrong < 0) return { ...own, targets: found };
  throw new SoftpackError('INVALID_ARGUMENT', 'not the classes of these images', {
    field: 'filter.targets',
    expected: `${count} classes below ${classes}`,
    found: wrong < 0 ? `${found.length} classes` : `class ${found[wrong]} of image ${wrong}`,
  });
}

async function targetsOf(
  path: string,
  labels: { readonly classes: number; readonly classNames?: readonly string[] },
  recorded: FilteredLabels['images'],
): Promise<Uint32Array> {
  const { id, fit } = (recorded ?? {}) as { readonly id?: string; readonly fit?: ImageFit | null };
  const images = await openImages(path, { fit: fit ?? undefined, packed: 'as-they-are' });
  if (id !== undefined && id !== images.id) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not the images of these labels', {
      ...{ field: 'filter.targets', expected: `id ${id}`, found: `id ${images.id}` },
    });
  }
  const { targets } = matchClasses(path, labels, images);
  if (targets !== undefined) return targets;
  throw unknownClasses(path);
}

export function unknownClasses(path: string): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'the filter needs the class of every image', {
    field: 'filter',
    expected: 'images in one folder per class, named or as many as the classes of the labels',
    found: path,
  });
}

function filteredSource(
  source: LabelSource,
  filter: OpenFilter,
  labels: FilteredLabels,
): LabelSource {
  const { epochs, samples, classes, dtype, readEach, labelsOf } = source;
  const views = new ShownViews(source, filter.targets, labels);
  const close = () => source.close();
  return {
    ...{ epochs, samples, classes, dtype, close, [Symbol.asyncDispose]: close },
    async read(row, start, count) {
      const logits = await source.read(row, start, count);
      adaptLabels(logits, classes, await views.shown(row, sampleIds({ start, count })), filter);
      return logits;
    },
    ...(readEach && {
      async readEach(places: readonly LabelPlace[]) {
        const logits = await readEach(places);
        const shown: ShownClasses[] = [];
        for (const { epoch, sample } of places) {
          shown.push(...(await views.shown(epoch, Uint32Array.of(sample))));
        }
        adaptLabels(logits, classes, shown, filter);
        return logits;
      },
    }),
    ...(labelsOf && { labelsOf }),
  };
}

/** Views of a row: of a sample by its id, or by its position where `ids` lists them. */
interface RowViews {
  readonly epoch: number;
  readonly views: Augmentations | undefined;
  readonly ids?: Uint32Array;
  /** Views are asked for by position, not by id. */
  readonly recorded: boolean;
}

/** Tells which classes the views of labels show. */
class ShownViews {
  readonly #source: LabelSource;
  readonly #targets: Uint32Array;
  readonly #labels: FilteredLabels;
  readonly #spec: AnyAugmentationSpec | undefined;
  #last: { readonly row: number; readonly views: Promise<RowViews> } | undefined;

  constructor(source: LabelSource, targets: Uint32Array, labels: FilteredLabels) {
    const { augmentation } = labels;
    this.#source = source;
    this.#targets = targets;
    this.#labels = labels;
    this.#spec = augmentation === null ? undefined : parseAnyAugmentationSpec(augmentation);
  }

  async shown(row: number, positions: Uint32Array): Promise<readonly ShownClasses[]> {
    if (this.#last?.row !== row) this.#last = { row, views: this.#viewsOf(row) };
    const views = await this.#last.views;
    return Array.from(positions, (position) => this.#shown(views, position));
  }

  #shown({ epoch, views, ids, recorded }: RowViews, position: number): ShownClasses {
    const sample = ids?.[position] ?? position;
    const own = this.#targets[sample];
    if (views === undefined) return { own, partner: own, share: 1 };
    const { partner, box, weight } = views.mix(epoch, recorded ? position : sample);
    const [height, width] = views.size;
    const share = weight < 1 ? weight : 1 - (box[2] * box[3]) / (height * width);
    const other = recorded ? (ids?.[partner] ?? partner) : partner;
    return { own, partner: share === 1 ? own : this.#targets[other], share };
  }

  async #viewsOf(row: number): Promise<RowViews> {
    const { labelsOf, samples } = this.#source;
    const isBatch = this.#labels.pruning !== undefined;
    const listed = isBatch ? await labelsOf?.(row, 0, samples) : undefined;
    const epoch = listed?.epoch ?? row;
    const ids = listed && { ids: sampleIds(listed.samples) };
    const spec = this.#spec;
    if (spec?.generator === 'recorded') {
      return { epoch, ...ids, views: await this.#readViews(row, spec), recorded: true };
    }
    const views = spec && Augmenter.unsized(spec, this.#targets.length);
    return { epoch, ...ids, views, recorded: false };
  }

  async #readViews(row: number, { size }: AnyAugmentationSpec): Promise<Augmentations> {
    const { sides } = this.#labels;
    const columns = findRecordedColumns(sides?.columns ?? [], this.#source.samples);
    return new RecordedAugmentations(size, columns, (await sides?.read(row)) ?? {});
  }
}
