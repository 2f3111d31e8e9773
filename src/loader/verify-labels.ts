import type { LabelArchive } from '../archive/archive.js';
import { commonAugmentation } from '../archive/parted-archive.js';
import { labelsOfRow } from '../archive/read-labels.js';
import { type AugmentationSpec, parseAnyAugmentationSpec } from '../augment/spec.js';
import { argument } from '../core/check.js';
import { canonicalJson, type JsonValue } from '../core/json.js';
import { STREAM } from '../core/philox.js';
import { RandomSequence } from '../core/random.js';
import { sampleIds } from '../core/samples.js';
import { excerpt, SoftpackError } from '../errors.js';
import type { ImageFit } from '../images/decode.js';
import { openImages } from '../images/open.js';
import type { ImageSource } from '../images/source.js';
import { DivergenceMeter, type LabelDivergence } from '../labels/divergence.js';
import type { LabelPlace } from '../labels/source.js';
import { softmaxRows } from '../labels/temperature.js';
import type { BackendName } from '../nn/backend/name.js';
import type { TeacherDescription } from '../nn/teachers/description.js';
import { loadTeacher } from '../nn/teachers/load.js';
import { openArchive } from '../pipeline/open-archive.js';
import { TeacherSource } from '../pipeline/teacher-source.js';
import type { ByteStore } from '../store/byte-store.js';
import { openImagesOf } from './images-of.js';

export interface VerifyLabelsOptions {
  /** A teacher's file or folder, as `loadTeacher` reads it. */
  readonly teacher: string;
  readonly description?: TeacherDescription;
  /** TensorFlow.js backend of the teacher; default `auto`. */
  readonly backend?: 'auto' | BackendName;
  /** Path of the images, as `openImages` finds them. */
  readonly images: string;
  readonly split?: string;
  /** Labels that are made again; default 256. */
  readonly labels?: number;
  /** Seed of their draw; default 0. Draw other labels than whoever made the archive may expect. */
  readonly seed?: number;
  readonly workers?: number;
  /** Take this teacher or these images though they are not those that the archive names. */
  readonly accept?: readonly ('teacher' | 'images')[];
  readonly signal?: AbortSignal;
}

export interface LabelsReport {
  /** Labels that were made again. */
  readonly labels: number;
  /** Divergence of the archive's labels from the teacher's. */
  readonly archive: LabelDivergence;
  /** Of the teacher's labels from its own in other batches: what no archive can be below. */
  readonly control: LabelDivergence;
  /** Of the teacher's labels from those of other views: what an archive of unrelated labels would have. */
  readonly unrelated: LabelDivergence;
  /** What the archive says of itself, if it does: over a draw of its own. */
  readonly recorded?: JsonValue;
}

/** Labels of one epoch that are drawn together. */
const BATCH = 32;
/** Another batch size than any default, so that sums are in another order. */
const CONTROL_BATCH = 3;

/**
 * Makes a random draw of an archive's labels again: shows the teacher the same views and compares its labels with the
 * decoded ones.
 *
 * @throws `INVALID_ARGUMENT` with both values if teacher or images are not those of the archive, `UNSUPPORTED` if its
 *   views cannot be made again.
 */
export async function verifyLabels(
  from: string | ByteStore,
  options: VerifyLabelsOptions,
): Promise<LabelsReport> {
  argument.count(options.labels ?? 1, 'labels', 1, 2 ** 24);
  await using archive = await openArchive(from);
  const augmentation = viewsOf(archive);
  requireUnfiltered(archive);
  await requireTeacher(archive, options);
  const images = await imagesOf(archive, options);
  const draw = await drawLabels(archive, options);
  const made = await labelsAgain(archive, images, augmentation, draw, options);
  const again = await labelsAgain(archive, images, augmentation, draw, {
    ...options,
    batch: CONTROL_BATCH,
  });
  const { classes } = archive;
  const stored = new Float32Array(made.length);
  let at = 0;
  for (const { row, ids } of draw) {
    stored.set(await archive.labels(row, ids), at);
    at += ids.length * classes;
  }
  const divergence = (other: Float32Array) => {
    const meter = new DivergenceMeter(classes);
    meter.add(made, other);
    return meter.result();
  };
  const recorded = archive.manifest.result?.divergence;
  return {
    labels: made.length / classes,
    archive: divergence(stored),
    control: divergence(again),
    unrelated: divergence(rotated(made, classes)),
    ...(recorded === undefined ? {} : { recorded }),
  };
}

function viewsOf(archive: LabelArchive): AugmentationSpec {
  const augmentation = commonAugmentation(archive);
  const spec = augmentation === null ? undefined : parseAnyAugmentationSpec(augmentation);
  if (spec !== undefined && spec.generator !== 'recorded') return spec;
  throw new SoftpackError('UNSUPPORTED', 'the views of this archive cannot be made again', {
    field: 'augmentation',
    expected: 'views drawn by softpack',
    found: spec?.generator ?? 'no record of them',
  });
}

/** Labels that were changed before they were packed are not the teacher's. */
function requireUnfiltered({ manifest: { request } }: LabelArchive): void {
  if (request?.filter === undefined) return;
  throw new SoftpackError('UNSUPPORTED', 'labels were changed after the teacher made them', {
    field: 'manifest.json: request.filter',
    expected: "the teacher's labels",
    found: excerpt(JSON.stringify(request.filter)),
  });
}

async function requireTeacher(
  { manifest, classes }: LabelArchive,
  { teacher: path, backend, description, accept = [] }: VerifyLabelsOptions,
): Promise<void> {
  using teacher = await loadTeacher(path, { backend, description });
  if (teacher.classes !== classes) {
    throw otherTeacher('classes', classes, teacher.classes);
  }
  if (accept.includes('teacher')) return;
  const text = (value: unknown) => JSON.stringify(canonicalJson(value ?? null, 'teacher'));
  const [expected, found] = [text(manifest.teacher), text(teacher.fingerprint)];
  if (expected !== found) throw otherTeacher('fingerprint', expected, found);
  const [names, own] = [manifest.classNames, teacher.classNames];
  const differing = names?.findIndex((name, i) => own !== undefined && own[i] !== name) ?? -1;
  if (differing < 0) return;
  throw otherTeacher(`classNames[${differing}]`, names?.[differing], own?.[differing]);
}

function otherTeacher(what: string, expected: unknown, found: unknown): SoftpackError {
  return new SoftpackError('INVALID_ARGUMENT', 'not the teacher of this archive', {
    field: `teacher: ${what}`,
    expected: excerpt(expected),
    found: excerpt(found),
  });
}

async function imagesOf(
  archive: LabelArchive,
  { images, split, accept = [] }: VerifyLabelsOptions,
): Promise<ImageSource> {
  if (!accept.includes('images')) return openImagesOf(archive, images, { split });
  const fit = (archive.manifest.images?.fit ?? undefined) as ImageFit | undefined;
  const found = await openImages(images, { split, fit, packed: 'as-they-are' });
  const samples = archive.manifest.pruning?.samples ?? archive.samples;
  if (found.count === samples) return found;
  const details = { field: 'images', expected: `${samples} images`, found: found.count };
  throw new SoftpackError('INVALID_ARGUMENT', 'not as many images as labels', details);
}

/** Positions in a row of the archive, and the views that they are labels of. */
interface DrawnLabels {
  readonly row: number;
  readonly ids: Uint32Array;
  readonly places: readonly LabelPlace[];
}

async function drawLabels(
  archive: LabelArchive,
  { labels = 256, seed = 0 }: VerifyLabelsOptions,
): Promise<readonly DrawnLabels[]> {
  const { samples, epochs } = archive;
  const random = new RandomSequence(seed, STREAM.codec);
  const draw: DrawnLabels[] = [];
  const count = Math.min(labels, samples * epochs);
  for (let done = 0; done < count; ) {
    const row = random.below(epochs);
    const ids = random.distinct(Math.min(BATCH, samples, count - done), samples);
    const { epoch, samples: held } = await labelsOfRow(archive, row, ids);
    const places = Array.from(sampleIds(held), (sample) => ({ epoch, sample }));
    draw.push({ row, ids, places });
    done += ids.length;
  }
  return draw;
}

async function labelsAgain(
  archive: LabelArchive,
  images: ImageSource,
  augmentation: AugmentationSpec,
  draw: readonly DrawnLabels[],
  options: VerifyLabelsOptions & { readonly batch?: number },
): Promise<Float32Array> {
  const { teacher, description, backend = 'auto', workers, batch, signal } = options;
  const { classes, manifest } = archive;
  const last = Math.max(...draw.flatMap(({ places }) => places.map(({ epoch }) => epoch)));
  await using source = new TeacherSource({
    ...{ teacher, description, backend, images, augmentation, classes, workers, batch, signal },
    epochs: last + 1,
    fingerprint: {},
  });
  const logits = await source.readEach(draw.flatMap(({ places }) => places));
  let at = 0;
  for (const { row, places } of draw) {
    const tau = manifest.pruning === undefined ? archive.temperatureOf(row) : manifest.tau;
    const labels = logits.subarray(at, at + places.length * classes);
    softmaxRows(labels, places.length, classes, tau, labels);
    at += labels.length;
  }
  return logits;
}

/** Every label in the place of the one before it. */
function rotated(labels: Float32Array, classes: number): Float32Array {
  const out = new Float32Array(labels.length);
  out.set(labels.subarray(classes));
  out.set(labels.subarray(0, classes), labels.length - classes);
  return out;
}
