import { callRecord, type Provenance } from '../archive/provenance.js';
import type { CodecChoice } from '../codecs/registry.js';
import { argument } from '../core/check.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import type { ImageSource } from '../images/source.js';
import { ferkdOptions } from '../labels/ferkd.js';
import type { LabelSource } from '../labels/source.js';
import type { TotalSizeChoice } from './archive-size.js';
import type { LabelsIdentity } from './cache-identity.js';
import type { CacheLabelsOptions } from './cache-options.js';
import { type OpenFilter, unknownClasses } from './label-filter.js';
import type { PackOptions } from './pack-options.js';
import { TeacherSource } from './teacher-source.js';

/** Labels that are encoded as the teacher makes them: by one machine, or shard by shard by many. */

export type OnePassOptions = Omit<CacheLabelsOptions, 'filter'> & {
  readonly filter?: OpenFilter;
};

/** The teacher's labels of these views, made when they are read. */
export function teacherSource(
  options: Omit<OnePassOptions, 'out'>,
  { targets, ...identity }: LabelsIdentity,
  images: ImageSource,
): TeacherSource {
  const { teacher: path, description, backend = 'auto', workers, batch, signal } = options;
  const { classes, epochs, augmentation } = identity;
  return new TeacherSource({
    ...{ teacher: path, description, backend, images, targets, augmentation, classes, epochs },
    ...{ workers, batch, signal },
    fingerprint: labelsFingerprint(identity),
  });
}

function labelsFingerprint(identity: LabelsIdentity): JsonObject {
  const { classes, samples, epochs, tau, augmentation, teacher, images } = identity;
  const labels = { classes, samples, epochs, tau, augmentation, teacher, images };
  return canonicalJson({ labels }, 'cache') as JsonObject;
}

/** {@link teacherSource} before there is a teacher: for plans, which read no label. */
export function plannedSource(identity: LabelsIdentity): LabelSource {
  const { epochs, samples, classes } = identity;
  return {
    ...{ epochs, samples, classes, dtype: 'F16' },
    read: () => Promise.reject(new SoftpackError('INCOMPLETE', 'no label was made yet')),
    fingerprint: async () => labelsFingerprint(identity),
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}

/** What is asked of the packing of {@link teacherSource}. */
export function onePass(
  { filter, training, grid, description }: Omit<OnePassOptions, 'out'>,
  codec: CodecChoice | TotalSizeChoice,
  { tau, tauSchedule, storedEpochs: keep, ...identity }: LabelsIdentity,
  source: PackOptions['source'],
): Omit<PackOptions, 'out'> {
  const { augmentation, classNames, teacher, images } = identity;
  return {
    ...{ source, codec, filter, tau, tauSchedule, keep, training, grid },
    ...{ augmentation, classNames, teacher, images },
    ...(description?.output === 'logits' ? { labels: 'logits' as const } : {}),
  };
}

/** The views that were made of the options have a field of their own in the manifest. */
export function provenanceOf({
  augmentation: _,
  ...args
}: Omit<OnePassOptions, 'out' | 'filter'> & { readonly filter?: object }): Provenance {
  return callRecord('cacheLabels', args);
}

/** FerKD's adaptation needs a codec, or packing later, and the class of every image. */
export function filterOf(
  { filter, codec, images }: Pick<CacheLabelsOptions, 'filter' | 'codec' | 'images'>,
  { targets }: LabelsIdentity,
): OpenFilter | undefined {
  if (filter === undefined) return undefined;
  if (targets === undefined) throw unknownClasses(images);
  const { name, ...options } = filter;
  if (codec !== undefined && codec.name !== 'none') {
    return { name, ...ferkdOptions(options), targets };
  }
  throw new SoftpackError('INVALID_ARGUMENT', "uncompressed labels are kept as the teacher's", {
    field: 'filter',
    expected: 'a codec, or the filter of packLogits',
    found: name,
  });
}

/** Codes of 8 labels end with a byte whatever their size. */
export function requireCut(
  { grid, codec }: Pick<OnePassOptions, 'grid' | 'codec'>,
  samples: number,
): void {
  if (grid === undefined) return;
  const compressed = codec !== undefined && codec.name !== 'none';
  argument.that(
    compressed,
    'no codec',
    'grid',
    'a codec: uncompressed labels have shards of their own',
  );
  argument.count(grid.epochs, 'grid.epochs', 1);
  argument.count(grid.samples, 'grid.samples', 1);
  const cut = grid.samples >= samples || grid.samples % 8 === 0;
  argument.that(cut, grid.samples, 'grid.samples', 'a multiple of 8');
}
