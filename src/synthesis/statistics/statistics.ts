import { Augmenter } from '../../augment/augmenter.js';
import { renderViews } from '../../augment/replay.js';
import type { AugmentationSpec } from '../../augment/spec.js';
import { argument } from '../../core/check.js';
import type { JsonObject } from '../../core/json.js';
import { SoftpackError, throwIfAborted } from '../../errors.js';
import { imagesFingerprint } from '../../images/fingerprint.js';
import type { ImageReader } from '../../images/image-reader.js';
import { openImages } from '../../images/open.js';
import { openImageReader } from '../../images/reader.js';
import type { ImageSource } from '../../images/source.js';
import type { DifferentiableNetwork } from '../../nn/network.js';
import { loadTeacher } from '../../nn/teachers/load.js';
import type { Teacher } from '../../nn/teachers/teacher.js';
import { withTfjs } from '../../nn/with-tfjs.js';
import { OutputFolder } from '../../pipeline/output-folder.js';
import { classesOf } from '../classes.js';
import { networkOf } from '../network-of.js';
import { isFinished, type PooledMoments, writeStatistics } from './file.js';
import { Moments } from './moments.js';
import type { FeatureStatisticsOptions, FeatureStatisticsResult } from './options.js';
import { type GroupMoments, partsFolder, StatisticsParts } from './parts.js';

/** Forward passes of a job, which a killed run repeats. */
const JOB_BATCHES = 32;
const DECODES = 4;

/**
 * Mean and variance of the inputs of a teacher's batch norms (of the outputs of its convolutions if it has none) over augmented
 * views of images, of all and of each class, pooled exactly. LPLD needs those of classes, graph models those of all, as their
 * batch norms were folded away.
 *
 * An interrupted run is resumed to the bytes of one without interruption, on the same TensorFlow.js backend.
 *
 * @throws Before any work `UNSUPPORTED` for kinds of teacher whose features are out of reach, `INVALID_ARGUMENT` if the images
 *   have no classes or others than the teacher's, `ALREADY_EXISTS` if `out` was asked for otherwise, `LOCKED` if another
 *   run is writing it; `NON_FINITE` naming the image.
 */
export async function featureStatistics(
  options: FeatureStatisticsOptions,
): Promise<FeatureStatisticsResult> {
  const settings = settingsOf(options);
  using teacher = await loadTeacher(options.teacher, options);
  const network = networkOf(options.teacher, teacher);
  const { imageMoments, tapShapes } = await withTfjs(() => import('./features.js'));
  const taps = tapShapes(network, teacher.size);
  const images = await openImages(options.images, options);
  const groups = groupsOf(options.teacher, teacher, images, settings);
  const request = {
    ...settings,
    ...{ teacher: teacher.fingerprint as JsonObject, size: teacher.size },
    images: { id: images.id, content: await imagesFingerprint(images, options.signal) },
  };
  const channels = taps.reduce((sum, tap) => sum + tap.channels, 0);
  const views = images.count * settings.views;
  const { perClass } = settings;
  const classes = perClass ? groups.filter((group) => group.length > 0).length : 0;
  const result = { taps: taps.length, channels, images: images.count, views, classes };
  if (await isFinished(options.out, request)) return result;
  await using _folder = await OutputFolder.open(partsFolder(options.out));
  const parts = await StatisticsParts.open(options.out, request, channels);
  using reader = await openImageReader(images.description, { concurrency: DECODES });
  const context = {
    teacher,
    network,
    imageMoments,
    channels,
    reader,
    settings,
    signal: options.signal,
  };
  const jobs = jobsOf(groups, settings);
  let done = 0;
  options.onProgress?.({ done, total: views });
  for (const [job, own] of jobs.entries()) {
    const tries = own.flatMap((group) =>
      groups[group].flatMap((image) =>
        Array.from({ length: settings.views }, (_, view) => ({ group, image, view })),
      ),
    );
    const before = done;
    const report = (some: number) => options.onProgress?.({ done: before + some, total: views });
    if (parts.has(job)) report(tries.length);
    else await parts.write(job, await momentsOf(context, own, tries, report));
    done += tries.length;
  }
  const moments = await pool(parts, jobs.length, channels, perClass);
  await writeStatistics(options.out, request, taps, moments);
  await parts.remove();
  return result;
}

interface Settings {
  readonly perClass: boolean;
  readonly views: number;
  readonly minCrop: number;
  readonly seed: number;
  readonly batch: number;
}

function settingsOf(options: FeatureStatisticsOptions): Settings {
  const { perClass = true, views = 1, minCrop = 0.08, seed = 0, batch = 128 } = options;
  argument.flag(perClass, 'perClass');
  argument.count(views, 'views', 1, 2 ** 16);
  argument.number(minCrop, 'minCrop', 0.001, 1);
  argument.count(seed, 'seed', 0);
  argument.count(batch, 'batch', 1, 2 ** 16);
  return { perClass, views, minCrop, seed, batch };
}

/** Images whose moments are kept apart: those of each class, or those of one job. */
function groupsOf(
  path: string,
  teacher: Teacher,
  images: ImageSource,
  { perClass, views, batch }: Settings,
): readonly (readonly number[])[] {
  if (images.count === 0) {
    throw new SoftpackError('INVALID_ARGUMENT', 'no images to take statistics of', {
      ...{ field: 'images', expected: 'at least 1', found: 0 },
    });
  }
  if (!perClass) {
    const each = Math.max(1, Math.floor((JOB_BATCHES * batch) / views));
    const count = Math.ceil(images.count / each);
    return Array.from({ length: count }, (_, i) =>
      Array.from({ length: Math.min(each, images.count - i * each) }, (_, j) => i * each + j),
    );
  }
  const { targets } = classesOf(path, teacher, images);
  const groups: number[][] = Array.from({ length: teacher.classes }, () => []);
  for (const [image, target] of targets.entries()) groups[target].push(image);
  return groups;
}

/** Consecutive groups, as many as fill a job, one at least. */
function jobsOf(
  groups: readonly (readonly number[])[],
  { views, batch }: Settings,
): readonly (readonly number[])[] {
  const jobs: number[][] = [];
  let room = 0;
  groups.forEach((images, group) => {
    const size = images.length * views;
    if (jobs.length === 0 || size > room) {
      jobs.push([]);
      room = JOB_BATCHES * batch;
    }
    room -= size;
    jobs[jobs.length - 1].push(group);
  });
  return jobs;
}

interface Context {
  readonly teacher: Teacher;
  readonly network: DifferentiableNetwork;
  readonly imageMoments: typeof import('./features.js').imageMoments;
  readonly channels: number;
  readonly reader: ImageReader;
  readonly settings: Settings;
  readonly signal?: AbortSignal;
}

interface View {
  readonly group: number;
  readonly image: number;
  readonly view: number;
}

async function momentsOf(
  { teacher, network, imageMoments, channels, reader, settings, signal }: Context,
  groups: readonly number[],
  views: readonly View[],
  onDone: (views: number) => void,
): Promise<readonly GroupMoments[]> {
  const { seed, minCrop, batch } = settings;
  const { size, normalisation, rendering } = teacher;
  const spec: AugmentationSpec = {
    ...{ generator: 'philox4x32-10', seed, size, flip: 0.5, mix: { kind: 'none' } },
    crop: { scale: [minCrop, 1], ratio: [3 / 4, 4 / 3] },
    ...rendering,
  };
  const found = new Map(groups.map((group) => [group, new Moments(channels)]));
  const stride = size[0] * size[1] * 3;
  for (let at = 0; at < views.length; at += batch) {
    throwIfAborted(signal);
    const some = views.slice(at, at + batch);
    const ids = some.map(({ image }) => image);
    const images = await reader.read(Uint32Array.from(ids));
    const augmenter = new Augmenter(spec, images);
    const pixels = new Float32Array(some.length * stride);
    for (const [i, { image, view }] of some.entries()) {
      const out = pixels.subarray(i * stride, (i + 1) * stride);
      renderViews(augmenter, images, view, Uint32Array.of(image), normalisation, out);
    }
    const { mean, variance } = await imageMoments(network, pixels, size, ids);
    for (const [i, { group }] of some.entries()) {
      const [from, to] = [i * channels, (i + 1) * channels];
      found.get(group)?.add(1, mean.subarray(from, to), variance.subarray(from, to));
    }
    onDone(at + some.length);
  }
  return [...found].map(([group, moments]) => ({ group, moments }));
}

/** Of all jobs together, in their order, so that sums round alike however often the run was interrupted. */
async function pool(
  parts: StatisticsParts,
  jobs: number,
  channels: number,
  withClasses: boolean,
): Promise<PooledMoments> {
  const overall = new Moments(channels);
  const perClass: Moments[] = [];
  for (let job = 0; job < jobs; job++) {
    for (const { group, moments } of await parts.read(job)) {
      overall.merge(moments);
      perClass[group] = moments;
    }
  }
  return withClasses ? { overall, classes: perClass } : { overall };
}
