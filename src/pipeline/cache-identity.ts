import { firstTau, type TauSchedule, tauScheduleOf } from '../archive/tau-schedule.js';
import { type AugmentationSpec, type MixSpec, renderingOf } from '../augment/spec.js';
import type { JsonObject } from '../core/json.js';
import type { ImageFit } from '../images/decode.js';
import { isPacked, openImages } from '../images/open.js';
import type { ImageSource } from '../images/source.js';
import { loadTeacher } from '../nn/teachers/load.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import type { CacheLabelsOptions } from './cache-options.js';
import { numberOf } from './kept-epochs.js';
import { matchClasses } from './match-classes.js';
import { DEFAULT_TAU } from './pack-options.js';

/** Random resized crops of 8 % of the image and more, flips, and CutMix on every view (FKD, SRe2L). */
const defaultAugmentation = {
  seed: 0,
  crop: { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 1 } as MixSpec,
} as const;

/** Facts about a teacher's labels that their archive records. */
export interface LabelsIdentity {
  readonly classes: number;
  readonly samples: number;
  readonly epochs: number;
  readonly storedEpochs?: number;
  readonly tau: number;
  readonly tauSchedule?: TauSchedule;
  readonly augmentation: AugmentationSpec;
  readonly classNames?: readonly string[];
  readonly teacher: Teacher['fingerprint'];
  readonly images: object;
  /** Not in the archive: the teacher's class of each image, if it is known. */
  readonly targets?: Uint32Array;
}

export function identityOf(
  teacher: TeacherFacts,
  images: ImageSource,
  fingerprint: JsonObject,
  { teacher: path, epochs, keep, augmentation, ...options }: CacheLabelsOptions,
): LabelsIdentity {
  const { tauSchedule: asked } = options;
  const { tau = (asked && firstTau(asked)) ?? DEFAULT_TAU } = options;
  const {
    resample = teacher.rendering?.resample,
    round = teacher.rendering?.round,
    ...given
  } = augmentation ?? {};
  return {
    ...{ classes: teacher.classes, samples: images.count, epochs, tau },
    ...storedOf(numberOf(keep), epochs),
    ...(asked === undefined ? {} : { tauSchedule: tauScheduleOf(asked, epochs, tau) }),
    augmentation: {
      generator: 'philox4x32-10',
      ...{ ...defaultAugmentation, ...given },
      size: teacher.size,
      ...renderingOf({ resample, round }),
    },
    teacher: teacher.fingerprint,
    images: { id: images.id, count: images.count, fit: fitOf(images) ?? null, fingerprint },
    ...matchClasses(path, teacher, images),
  };
}

/** What an archive says of how many of its epochs it stores. */
export function storedOf(
  keep: number | undefined,
  epochs: number,
): Pick<LabelsIdentity, 'storedEpochs'> {
  return keep === undefined || keep === epochs ? {} : { storedEpochs: keep };
}

export type TeacherFacts = Omit<Teacher, 'logits' | typeof Symbol.dispose>;

/** Loads the teacher once for its facts: the threads that use it load their own. */
export async function factsOf({
  teacher: path,
  backend,
  description,
}: CacheLabelsOptions): Promise<TeacherFacts> {
  using teacher = await loadTeacher(path, { backend, description });
  const { classes, classNames, size, normalisation, rendering, fingerprint } = teacher;
  return { classes, classNames, size, normalisation, rendering, fingerprint };
}

export async function imagesFor(
  { size }: TeacherFacts,
  { images, split, fit }: CacheLabelsOptions,
): Promise<ImageSource> {
  const own: ImageFit = { kind: 'short-side', pixels: 2 * Math.max(...size) };
  return openImages(images, { split, fit: (await isPacked(images)) ? fit : (fit ?? own) });
}

function fitOf({ description }: ImageSource): ImageFit | undefined {
  return description.kind === 'files' ? description.fit : undefined;
}
