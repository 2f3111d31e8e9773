import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { ArchiveBytes } from '../archive/archive.js';
import { requireUnfinished } from '../archive/create.js';
import type { Manifest } from '../archive/manifest.js';
import { type AugmentationSpec, type MixSpec, renderingOf } from '../augment/spec.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import type { VqaeTrainingOptions } from '../codecs/vqae/options.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { argument } from '../core/check.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import type { ImageFit } from '../images/decode.js';
import { imagesFingerprint } from '../images/fingerprint.js';
import { isPacked, openImages } from '../images/open.js';
import { requireOutside } from '../images/outside.js';
import type { ImageSource } from '../images/source.js';
import type { BackendName } from '../nn/backend/select.js';
import type { TeacherDescription } from '../nn/teachers/description.js';
import { loadTeacher } from '../nn/teachers/load.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import type { TotalRatioChoice } from './archive-size.js';
import { type LabelViewsResult, labelViews } from './label-views.js';
import { matchClasses } from './match-classes.js';
import { openArchive } from './open-archive.js';
import { type PackResult, packLogits, settleFinished } from './pack.js';
import { DEFAULT_EPS, DEFAULT_TAU, type PackProgress } from './pack-options.js';
import { codecRequest } from './pack-request.js';
import { requireSameRequest } from './partial-pack.js';
import { type CodecRequest, checkedChoice, Problems, requireOutput } from './preflight.js';
import { TeacherSource } from './teacher-source.js';
import { TemporaryLabels } from './temporary-labels.js';

export interface CacheLabelsOptions {
  /** A teacher's file or folder, as `loadTeacher` reads it. */
  readonly teacher: string;
  /** Facts that the model's files do not contain. */
  readonly description?: TeacherDescription;
  /** TensorFlow.js backend of the teacher; default `auto`. */
  readonly backend?: 'auto' | BackendName;
  /** A folder of images, a list of them, or what `pack-images` wrote; as `openImages` finds them. */
  readonly images: string;
  /** Part of an ImageNet-style tree. */
  readonly split?: string;
  /**
   * Size that image files are decoded to. By default their shorter side is at most twice that of the teacher's images: views
   * are cut out bilinearly, which is free of aliasing down to half the size.
   */
  readonly fit?: ImageFit;
  /** Epochs that the archive serves. */
  readonly epochs: number;
  /** Epochs that are labelled, default all: epoch e has the labels and views of epoch e mod `keep`. */
  readonly keep?: number;
  /**
   * Augmentation of the views; the defaults are the usual recipe of ImageNet's soft labels, see
   * {@link defaultAugmentation}, resized as the teacher's description says.
   */
  readonly augmentation?: Partial<Omit<AugmentationSpec, 'generator' | 'size'>>;
  /** Directory of the archive to write; an interrupted run is resumed. */
  readonly out: string;
  /** Codec of the labels; default: the teacher's logits are kept uncompressed, in half floats. */
  readonly codec?: CodecChoice | TotalRatioChoice;
  /** Temperature of the labels, default 20. */
  readonly tau?: number;
  readonly training?: VqaeTrainingOptions;
  /**
   * With a codec: directory of an archive of the uncompressed labels, which is kept. By default there is none, or it
   * lies in `<out>.softpack-tmp` and is removed at the end; see `passes`.
   */
  readonly full?: string;
  /**
   * With a codec: 1 trains it on a draw of labels and encodes the others as they come, 2 keeps all uncompressed labels
   * (2 bytes per class) on disk meanwhile, and makes none of them twice. Default: 1 if they exceed 1 GiB.
   */
  readonly passes?: 1 | 2;
  readonly workers?: number;
  readonly batch?: number;
  /** Return the result of a finished archive of the same request instead of refusing it; default false. */
  readonly acceptFinished?: boolean;
  readonly onProgress?: (progress: CacheProgress) => void;
  readonly signal?: AbortSignal;
}

export type CacheProgress =
  | { readonly phase: 'label'; readonly done: number; readonly total: number }
  | PackProgress;

export interface CacheLabelsResult {
  readonly labels: number;
  readonly epochs: number;
  readonly images: number;
  readonly classes: number;
  readonly teacher: Readonly<Record<string, unknown>>;
  /** Views of this run that show one known class for the most part: the share to which the teacher gives that class. */
  readonly agreement?: number;
  /** Labels made in this run. */
  readonly made: number;
  readonly bytes: ArchiveBytes;
  /** Number of files that look like images and were left out, and the first of them. */
  readonly skipped?: ImageSource['skipped'];
  /** Result of the compression, if a codec was asked for. */
  readonly packed?: PackResult;
}

/** Random resized crops of 8 % of the image and more, flips, and CutMix on every view (FKD, SRe2L). */
const defaultAugmentation = {
  seed: 0,
  crop: { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] },
  flip: 0.5,
  mix: { kind: 'cutmix', alpha: 1, probability: 1 } as MixSpec,
} as const;

/**
 * Shows a teacher every augmented view of a folder's images and keeps its labels in an archive, compressed if a
 * codec is asked for.
 *
 * @throws What `loadTeacher`, `openImages` and `packLogits` throw, before any label is made if possible;
 *   `NO_SPACE` if the labels do not fit the disk.
 */
export async function cacheLabels(options: CacheLabelsOptions): Promise<CacheLabelsResult> {
  const { epochs, keep = epochs, out, training, onProgress, signal } = options;
  argument.count(keep, 'keep', 1, epochs);
  const codec = options.codec?.name === 'none' ? undefined : options.codec;
  const temporary =
    codec === undefined || options.full !== undefined ? undefined : new TemporaryLabels(out);
  const problems = new Problems();
  const finished = await problems.check(() => freeOutput(options, temporary));
  await problems.check(() => temporary?.requireOwn());
  const teacher = await problems.need(() => factsOf(options));
  const images = await problems.need(() => imagesFor(teacher, options));
  const left = images.skipped && { skipped: images.skipped };
  const content = await problems.need(() => imagesFingerprint(images, signal));
  const identity = await problems.need(() => identityOf(teacher, images, content, options));
  if (codec !== undefined) await checkCodec({ codec, training }, identity, problems);
  problems.throwAll();
  if (finished !== undefined) {
    requireSameLabels(finished, identity, codec && codecRequest({ ...options, codec }));
    const packed = codec && (await settleFinished(out));
    await temporary?.remove();
    if (packed !== undefined)
      return { ...(await resultOf(options, identity, { labels: 0 }, packed)), ...left };
  }
  if (codec !== undefined && passesOf(options, codec, identity, temporary) === 1) {
    return { ...(await packAsLabelled(options, codec, identity, images)), ...left };
  }
  const full = codec === undefined ? out : (options.full ?? temporary?.directory ?? out);
  await requireSpace(full, 2 * images.count * keep * teacher.classes);
  await temporary?.create();
  const labelled = await label(full, identity, images, options);
  const packed =
    codec &&
    (await packLogits({
      ...{ source: full, out, codec, training, onProgress, signal },
      acceptFinished: true,
    }));
  await temporary?.remove();
  return { ...(await resultOf(options, identity, labelled, packed)), ...left };
}

/** Uncompressed labels of more than this are not written to a disk that need not hold them. */
const TWO_PASS_BYTES = 2 ** 30;

/** Labels that are there already are packed; codecs that look at all labels first need them twice. */
function passesOf(
  { passes, full }: CacheLabelsOptions,
  codec: CodecChoice | TotalRatioChoice,
  { samples, epochs, storedEpochs = epochs, classes }: LabelsIdentity,
  temporary: TemporaryLabels | undefined,
): 1 | 2 {
  if (full !== undefined || temporary?.isThere() || CODECS.of(codec).perSample) return 2;
  return passes ?? (2 * samples * storedEpochs * classes > TWO_PASS_BYTES ? 1 : 2);
}

/** Trains the codec on a first draw of labels, and encodes all of them as they come. */
async function packAsLabelled(
  options: CacheLabelsOptions,
  codec: CodecChoice | TotalRatioChoice,
  { targets, ...identity }: LabelsIdentity,
  images: ImageSource,
): Promise<CacheLabelsResult> {
  const { teacher: path, description, backend = 'auto', workers, batch, signal } = options;
  const { out, training, onProgress } = options;
  const { classes, samples, epochs, tau, augmentation, classNames, teacher } = identity;
  const { storedEpochs: keep } = identity;
  const labels = { classes, samples, epochs, tau, augmentation, teacher, images: identity.images };
  await using source = new TeacherSource({
    ...{ teacher: path, description, backend, images, targets, augmentation, classes, epochs },
    ...{ workers, batch, signal },
    fingerprint: canonicalJson({ labels }, 'cache') as JsonObject,
  });
  const packed = await packLogits({
    ...{ source, out, codec, tau, keep, training, onProgress, signal, acceptFinished: true },
    ...{ augmentation, classNames, teacher, images: identity.images },
    ...(description?.output === 'logits' ? { labels: 'logits' } : {}),
  });
  return await resultOf(options, { ...identity, targets }, source.made, packed);
}

async function resultOf(
  { out, epochs }: CacheLabelsOptions,
  { samples, classes, teacher }: LabelsIdentity,
  { labels, agreement }: LabelViewsResult,
  packed: PackResult | undefined,
): Promise<CacheLabelsResult> {
  await using archive = await openArchive(out);
  return {
    labels: epochs * samples,
    ...{ epochs, images: samples, classes, teacher, made: labels },
    ...(agreement === undefined ? {} : { agreement }),
    bytes: archive.bytes(),
    ...(packed === undefined ? {} : { packed }),
  };
}

/** Facts about a teacher's labels that their archive records. */
interface LabelsIdentity {
  readonly classes: number;
  readonly samples: number;
  readonly epochs: number;
  readonly storedEpochs?: number;
  readonly tau: number;
  readonly augmentation: AugmentationSpec;
  readonly classNames?: readonly string[];
  readonly teacher: Teacher['fingerprint'];
  readonly images: object;
  /** Not in the archive: the teacher's class of each image, if it is known. */
  readonly targets?: Uint32Array;
}

function identityOf(
  teacher: TeacherFacts,
  images: ImageSource,
  fingerprint: JsonObject,
  { teacher: path, epochs, keep = epochs, tau = DEFAULT_TAU, augmentation }: CacheLabelsOptions,
): LabelsIdentity {
  const {
    resample = teacher.rendering?.resample,
    round = teacher.rendering?.round,
    ...given
  } = augmentation ?? {};
  return {
    ...{ classes: teacher.classes, samples: images.count, epochs, tau },
    ...(keep === epochs ? {} : { storedEpochs: keep }),
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

/** Adds every objection to the codec for these labels. */
async function checkCodec(
  request: Pick<CodecRequest, 'codec' | 'training'>,
  { targets: _, ...labels }: LabelsIdentity,
  problems: Problems,
): Promise<void> {
  const full = 2 * labels.epochs * labels.samples * labels.classes;
  await checkedChoice({ ...request, tau: labels.tau, eps: DEFAULT_EPS }, labels, full, problems);
}

/** {@link finishedManifest}, after a check of where output goes. */
async function freeOutput(
  options: CacheLabelsOptions,
  temporary: TemporaryLabels | undefined,
): Promise<Manifest | undefined> {
  const { out, full, images, codec } = options;
  await requireOutside(out, images);
  if (full !== undefined) await requireOutside(full, images, 'full');
  const uncompressed = codec === undefined ? undefined : full;
  if (uncompressed === undefined) await requireOutput('out', out);
  else {
    await requireOutput('full', uncompressed, [{ what: 'the archive', path: out }]);
    await requireOutput('out', out, [{ what: 'the uncompressed labels', path: uncompressed }]);
  }
  return finishedManifest(options, temporary);
}

/**
 * The manifest of a finished archive that a rerun may accept: if it was asked for, or a killed run left its temporary
 * labels. `ALREADY_EXISTS` for any other.
 */
async function finishedManifest(
  { out, acceptFinished }: CacheLabelsOptions,
  temporary: TemporaryLabels | undefined,
): Promise<Manifest | undefined> {
  const open = acceptFinished || temporary?.isThere();
  if (!open || !existsSync(join(out, MANIFEST_FILE))) {
    await requireUnfinished(out);
    return undefined;
  }
  await using archive = await openArchive(out);
  return archive.manifest;
}

/** `ALREADY_EXISTS` with the first difference if the finished archive is not what is asked for. */
function requireSameLabels(
  { request, ...manifest }: Manifest,
  { targets: _, ...identity }: LabelsIdentity,
  codec: JsonObject | undefined,
): void {
  const { classes, samples, epochs, storedEpochs, tau } = manifest;
  const { augmentation, classNames, teacher, images } = manifest;
  const count = { classes, samples, epochs, storedEpochs };
  const labels = { ...count, tau, augmentation, classNames, teacher, images };
  const { source: _source, tau: _tau, ...made } = request ?? {};
  requireSameRequest(
    {
      request: canonicalJson({ ...labels, ...(request && { pack: made }) }, 'cache') as JsonObject,
    },
    canonicalJson({ ...identity, ...(codec && { pack: codec }) }, 'cache') as JsonObject,
  );
}

/** The uncompressed labels. */
function label(
  out: string,
  identity: LabelsIdentity,
  images: ImageSource,
  options: CacheLabelsOptions,
): Promise<LabelViewsResult> {
  const { teacher: path, description, backend = 'auto', workers, batch, signal } = options;
  const { classes, epochs, storedEpochs, tau, augmentation, classNames, targets } = identity;
  return labelViews({
    ...{ teacher: path, description, backend, images, epochs, out, workers, batch, signal },
    ...{ classes, tau, augmentation, classNames, targets },
    imagesRecord: identity.images,
    fingerprint: identity.teacher,
    storedEpochs,
    settled: description?.output === 'logits',
    onProgress: (done, total) => options.onProgress?.({ phase: 'label', done, total }),
  });
}

type TeacherFacts = Omit<Teacher, 'logits' | typeof Symbol.dispose>;

/** Loads the teacher once for its facts: the threads that use it load their own. */
async function factsOf({
  teacher: path,
  backend,
  description,
}: CacheLabelsOptions): Promise<TeacherFacts> {
  using teacher = await loadTeacher(path, { backend, description });
  const { classes, classNames, size, normalisation, rendering, fingerprint } = teacher;
  return { classes, classNames, size, normalisation, rendering, fingerprint };
}

async function imagesFor(
  { size }: TeacherFacts,
  { images, split, fit }: CacheLabelsOptions,
): Promise<ImageSource> {
  const own: ImageFit = { kind: 'short-side', pixels: 2 * Math.max(...size) };
  return openImages(images, { split, fit: (await isPacked(images)) ? fit : (fit ?? own) });
}

function fitOf({ description }: ImageSource): ImageFit | undefined {
  return description.kind === 'files' ? description.fit : undefined;
}

async function requireSpace(directory: string, bytes: number): Promise<void> {
  // The labels of an interrupted run are already missing from the free space.
  if (existsSync(directory)) return;
  let parent = dirname(resolve(directory));
  while (!existsSync(parent)) parent = dirname(parent);
  const { bavail, bsize } = await statfs(parent);
  const free = bavail * bsize;
  if (free >= bytes) return;
  const megabytes = (count: number) => `${Math.ceil(count / 1e6)} MB`;
  throw new SoftpackError('NO_SPACE', 'too little free disk space for the uncompressed labels', {
    field: parent,
    expected: megabytes(bytes),
    found: megabytes(free),
  });
}
