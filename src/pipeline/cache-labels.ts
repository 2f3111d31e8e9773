import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { requireUnfinished } from '../archive/create.js';
import type { Manifest } from '../archive/manifest.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { argument } from '../core/check.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import { imagesFingerprint } from '../images/fingerprint.js';
import { requireOutside } from '../images/outside.js';
import type { ImageSource } from '../images/source.js';
import type { TotalSizeChoice } from './archive-size.js';
import { asOne } from './as-one.js';
import { factsOf, identityOf, imagesFor, type LabelsIdentity, storedOf } from './cache-identity.js';
import type { CacheLabelsOptions, CacheLabelsResult } from './cache-options.js';
import { weighedEpochs } from './kept-epochs.js';
import { labelViews } from './label-views.js';
import {
  filterOf,
  type OnePassOptions,
  onePass,
  provenanceOf,
  requireCut,
  teacherSource,
} from './one-pass.js';
import { openArchive } from './open-archive.js';
import { type PackResult, packLogits, settleFinished } from './pack.js';
import { DEFAULT_EPS } from './pack-options.js';
import { codecRequest } from './pack-request.js';
import { requireSameRequest } from './partial-pack.js';
import { type CodecRequest, checkedChoice, Problems, requireOutput } from './preflight.js';
import type { LabelsMade } from './teacher-pool.js';
import { TemporaryLabels } from './temporary-labels.js';

/**
 * Shows a teacher every augmented view of a folder's images and keeps its labels in an archive, compressed if a
 * codec is asked for.
 *
 * @throws What `loadTeacher`, `openImages` and `packLogits` throw, before any label is made if possible;
 *   `NO_SPACE` if the labels do not fit the disk.
 */
export async function cacheLabels(options: CacheLabelsOptions): Promise<CacheLabelsResult> {
  const { out, training, onProgress, signal } = options;
  const { epochs, keep = epochs } = options;
  if (keep !== 'auto') argument.count(keep, 'keep', 1, epochs);
  const codec = options.codec?.name === 'none' ? undefined : options.codec;
  const temporary =
    codec === undefined || options.full !== undefined ? undefined : new TemporaryLabels(out);
  const problems = new Problems();
  const finished = await problems.check(() => freeOutput(options, temporary));
  await problems.check(() => temporary?.requireOwn());
  const teacher = await problems.need(() => factsOf(options));
  const images = await problems.need(() => imagesFor(teacher, options));
  const content = await problems.need(() => imagesFingerprint(images, signal));
  const whole = await problems.need(() => identityOf(teacher, images, content, options));
  const weighed = await problems.need(() => weighedEpochs(whole, { ...options, ...whole, codec }));
  const identity = { ...whole, ...storedOf(weighed?.keep, epochs) };
  const left = {
    ...(images.skipped && { skipped: images.skipped }),
    ...(weighed && { weighed: weighed.weighed }),
  };
  await problems.check(() => requireCut(options, identity.samples));
  const filter = await problems.check(async () => filterOf(options, identity));
  if (codec !== undefined) await checkCodec({ codec, training }, identity, problems);
  problems.throwAll();
  if (finished !== undefined) {
    requireSameLabels(finished, identity, codec && codecRequest({ ...options, codec, filter }));
    const packed = codec && (await settleFinished(out));
    await temporary?.remove();
    if (packed !== undefined)
      return { ...(await resultOf(options, identity, { labels: 0 }, packed)), ...left };
  }
  if (codec !== undefined && passesOf(options, codec, identity, temporary) === 1) {
    return { ...(await packAsLabelled({ ...options, filter }, codec, identity, images)), ...left };
  }
  const full = codec === undefined ? out : (options.full ?? temporary?.directory ?? out);
  await requireSpace(full, 2 * images.count * (identity.storedEpochs ?? epochs) * teacher.classes);
  await temporary?.create();
  const labelled = await label(full, identity, images, options);
  const packed =
    codec &&
    (await packLogits({
      ...{ source: full, out, codec, filter, training, grid: options.grid, onProgress, signal },
      ...{ provenance: provenanceOf(options), acceptFinished: true },
    }));
  await temporary?.remove();
  return { ...(await resultOf(options, identity, labelled, packed)), ...left };
}

/** Uncompressed labels of more than this are not written to a disk that need not hold them. */
const TWO_PASS_BYTES = 2 ** 30;

/** Labels that are there already are packed; codecs that look at all labels first need them twice. */
function passesOf(
  { passes, full }: CacheLabelsOptions,
  codec: CodecChoice | TotalSizeChoice,
  { samples, epochs, storedEpochs = epochs, classes }: LabelsIdentity,
  temporary: TemporaryLabels | undefined,
): 1 | 2 {
  if (full !== undefined || temporary?.isThere() || CODECS.of(codec).perSample) return 2;
  return passes ?? (2 * samples * storedEpochs * classes > TWO_PASS_BYTES ? 1 : 2);
}

/** Trains the codec on a first draw of labels, and encodes all of them as they come. */
async function packAsLabelled(
  options: OnePassOptions,
  codec: CodecChoice | TotalSizeChoice,
  identity: LabelsIdentity,
  images: ImageSource,
): Promise<CacheLabelsResult> {
  const { out, onProgress, signal } = options;
  await using source = teacherSource(options, identity, images);
  const asked = onePass(options, codec, identity, source);
  const provenance = provenanceOf(options);
  const packed = await packLogits({
    ...{ ...asked, out, provenance, onProgress, signal, acceptFinished: true },
  });
  return await resultOf(options, identity, source.made, packed);
}

async function resultOf(
  { out, epochs }: Pick<CacheLabelsOptions, 'out' | 'epochs'>,
  { samples, classes, teacher }: LabelsIdentity,
  { labels, agreement }: LabelsMade,
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
  return { ...archive.manifest, ...asOne(archive) };
}

/** `ALREADY_EXISTS` with the first difference if the finished archive is not what is asked for. */
function requireSameLabels(
  { request, ...manifest }: Manifest,
  { targets: _, ...identity }: LabelsIdentity,
  codec: JsonObject | undefined,
): void {
  const { classes, samples, epochs, storedEpochs, tau, tauSchedule } = manifest;
  const { augmentation, classNames, teacher, images } = manifest;
  const count = { classes, samples, epochs, storedEpochs };
  const labels = { ...count, tau, tauSchedule, augmentation, classNames, teacher, images };
  // All but the codec is compared as what the archive says of itself.
  const { source: _source, tau: _tau, keep: _keep, tauSchedule: _taus, ...made } = request ?? {};
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
): Promise<LabelsMade> {
  const { teacher: path, description, backend = 'auto', workers, batch, signal } = options;
  const { classes, epochs, storedEpochs, tau, augmentation, classNames, targets } = identity;
  const { tauSchedule } = identity;
  return labelViews({
    ...{ teacher: path, description, backend, images, epochs, out, workers, batch, signal },
    ...{ classes, tau, tauSchedule, augmentation, classNames, targets },
    imagesRecord: identity.images,
    fingerprint: identity.teacher,
    storedEpochs,
    provenance: provenanceOf(options),
    settled: description?.output === 'logits',
    onProgress: (done, total) => options.onProgress?.({ phase: 'label', done, total }),
  });
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
