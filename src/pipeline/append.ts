import { type AppendAxis, Appending } from '../archive/appending.js';
import type { LabelArchive } from '../archive/archive.js';
import { callRecord } from '../archive/provenance.js';
import type { TauScheduleChoice } from '../archive/tau-schedule.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import { argument } from '../core/check.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { errorCode, SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { Kernels } from '../kernels/types.js';
import { probabilitySource } from '../labels/probabilities.js';
import type { LabelSource } from '../labels/source.js';
import type { TotalSizeChoice } from './archive-size.js';
import { asOne } from './as-one.js';
import { boundSource } from './bound-source.js';
import { openArchive } from './open-archive.js';
import { type PackResult, packSource } from './pack.js';
import type { PackOptions } from './pack-options.js';
import { openPackSource } from './pack-source.js';
import { Problems } from './preflight.js';

export interface AppendLabelsOptions
  extends Pick<
    PackOptions,
    'tensor' | 'labels' | 'tau' | 'eps' | 'training' | 'trainingLabels' | 'kernels' | 'signal'
  > {
  /** Directory of the archive. */
  readonly archive: string;
  /** Logits of the epochs or samples that follow: a .npy, .npz or .safetensors file, or an open source. */
  readonly source: string | LabelSource;
  /**
   * Default `epochs`. Logits of further `samples` are of all epochs of the archive, or of those that it stores; their
   * temperatures are those of the archive.
   */
  readonly add?: AppendAxis;
  /**
   * Codec of these labels; default the one of the archive's last part as it was trained for it, if the archive has what it
   * needs to encode: of `vqae` it has not, nor of other samples if the codec has data per sample.
   */
  readonly codec?: CodecChoice | TotalSizeChoice;
  /** Temperatures of these epochs; default that of the archive's last one. */
  readonly tauSchedule?: TauScheduleChoice;
  /**
   * Views of these epochs: `following` are those that the archive's augmentation draws for the epochs of their numbers,
   * `unknown` belong to no image. Required if the archive's views are drawn.
   */
  readonly views?: 'following' | 'unknown';
  readonly onProgress?: PackOptions['onProgress'];
}

/**
 * Compresses logits into further epochs or samples of a finished archive, which stays readable meanwhile. An interrupted
 * run is resumed by the same call.
 *
 * @returns what is said of the new labels alone.
 * @throws What {@link appendArchive} and {@link packLogits} throw; `UNSUPPORTED` if the archive's codec cannot encode.
 */
export async function appendLabels(options: AppendLabelsOptions): Promise<PackResult> {
  const kernels = options.kernels ?? loadKernels();
  const problems = new Problems();
  const add = argument.oneOf(options.add ?? 'epochs', 'add', ['epochs', 'samples']);
  await using appending = await Appending.open(options.archive, add);
  await using archive = await problems.need(() => openArchive(options.archive));
  await using opened = await problems.need(() => labelsOf(options, kernels));
  const { labels, keep } = await problems.need(() => requireLabels(archive, opened.labels, add));
  const views = await problems.need(() => viewsOf(archive, labels, options));
  const pack = await problems.need(() => packOptionsOf(archive, labels, options, kernels));
  const { classNames, teacher, images } = archive.manifest;
  const facts = { classNames, teacher, ...(add === 'epochs' ? { images } : { keep }) };
  const all = { ...pack, ...facts, out: appending.folder, ...views.spec };
  const run = () => packSource(labels, kernels, all, new Problems(), { views: views.views });
  const result = await run().catch(async (error: unknown) => {
    // What another append was killed in is no part of any archive.
    if (!['ALREADY_EXISTS', 'INVALID_ARGUMENT'].includes(errorCode(error) ?? '')) throw error;
    await appending.discard();
    return run();
  });
  await appending.add();
  await appending.publish();
  return result;
}

/** The labels as the archive serves them. */
function requireLabels(
  archive: LabelArchive,
  labels: LabelSource,
  add: AppendAxis,
): { readonly labels: LabelSource; readonly keep?: number } {
  const { classes, samples, epochs } = archive;
  const { storedEpochs: stored } = asOne(archive);
  const isStored = add === 'samples' && stored === labels.epochs;
  const wanted = {
    classes,
    ...(add === 'epochs' ? { samples } : { epochs: isStored ? stored : epochs }),
  };
  for (const [field, expected] of Object.entries(wanted)) {
    const found = labels[field as keyof typeof wanted];
    if (found === expected) continue;
    const details = { field: `source: ${field}`, expected, found };
    throw new SoftpackError('INVALID_ARGUMENT', 'not labels of this archive', details);
  }
  if (!isStored) return { labels, ...(add === 'samples' ? { keep: stored } : {}) };
  const served: LabelSource = {
    ...boundSource(labels),
    epochs,
    read: (epoch, start, count) => labels.read(epoch % stored, start, count),
  };
  return { labels: served, keep: stored };
}

async function labelsOf(options: AppendLabelsOptions, kernels: Kernels) {
  const { source, tensor, labels: kind } = options;
  if (typeof source !== 'string') {
    const labels = kind === 'probabilities' ? probabilitySource(source, 'source') : source;
    return { labels, [Symbol.asyncDispose]: async () => {} };
  }
  const opened = await openPackSource(source, kernels, { tensor, labels: kind });
  const labels =
    kind === 'probabilities' ? probabilitySource(opened.labels, source) : opened.labels;
  return { labels, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
}

/** Views of the new epochs as their part records them. */
function viewsOf(
  { manifest, epochs }: LabelArchive,
  more: LabelSource,
  { views }: AppendLabelsOptions,
): {
  readonly spec: Pick<PackOptions, 'augmentation'>;
  readonly views?: { readonly first: number; readonly of: number };
} {
  const { augmentation } = manifest;
  if (augmentation === null || views === 'unknown') return { spec: { augmentation: null } };
  const drawn = augmentation.generator !== 'recorded';
  if (views === 'following' && drawn) {
    return { spec: { augmentation }, views: { first: epochs, of: epochs + more.epochs } };
  }
  throw new SoftpackError('INVALID_ARGUMENT', 'labels belong to views of the images', {
    field: 'views',
    expected: drawn ? 'following or unknown' : 'unknown: the views of this archive are recorded',
    found: views ?? 'nothing',
  });
}

/** With the codec of the last epochs unless another is asked for. */
async function packOptionsOf(
  archive: LabelArchive,
  labels: LabelSource,
  options: AppendLabelsOptions,
  kernels: Kernels,
): Promise<Omit<PackOptions, 'out'>> {
  const { codec, tau, tauSchedule, eps, training, trainingLabels, labels: kind } = options;
  const { onProgress, signal, source } = options;
  const [last] = archive.parts.slice(-1);
  const { anyTau, ownTau } = await encoderOf(last, labels, options, kernels);
  const lastTau = archive.temperatureOf(archive.epochs - 1);
  const own = options.add === 'samples' ? asOne(archive).tauSchedule : undefined;
  const following = anyTau && tau === undefined ? (own ?? ([[0, lastTau]] as const)) : own;
  const schedule = tauSchedule ?? following;
  requireTemperatures(options, { schedule, anyTau });
  const { archive: _, kernels: _kernels, ...args } = options;
  const provenance = callRecord('appendLabels', args, [archive.manifest.provenance]);
  return {
    ...{ source, eps, training, trainingLabels, kernels, provenance, onProgress, signal },
    labels: kind === 'probabilities' ? 'logits' : kind,
    acceptFinished: true,
    ...(codec === undefined
      ? {
          codec: sameCodec(last),
          trained: { parts: await last.wholeCodec() },
          tau: ownTau,
        }
      : { codec, tau: tau ?? lastTau }),
    ...(schedule && { tauSchedule: schedule }),
  };
}

/** What is appended is one part. */
function requireTemperatures(
  { add, tau, tauSchedule }: AppendLabelsOptions,
  found: { readonly schedule?: TauScheduleChoice; readonly anyTau: boolean },
): void {
  if (add === 'samples' && (tau !== undefined || tauSchedule !== undefined)) {
    throw new SoftpackError(
      'INVALID_ARGUMENT',
      'further samples have the temperatures of the archive',
      {
        field: tau === undefined ? 'tauSchedule' : 'tau',
        expected: 'nothing',
        found: JSON.stringify(tau ?? tauSchedule),
      },
    );
  }
  const { schedule } = found;
  if (found.anyTau || schedule === undefined) return;
  if (typeof schedule !== 'string' && schedule.length === 1) return;
  throw new SoftpackError('UNSUPPORTED', 'labels of this codec have one temperature', {
    field: 'tauSchedule',
    expected: 'a codec that stores logits, for epochs of several temperatures',
    found: JSON.stringify(schedule),
  });
}

/** Names the codec in the request; what it stores tells whether it has labels of any temperature. */
function sameCodec({ codecParts, manifest }: LabelArchive): CodecChoice {
  const { name, config } = codecParts;
  const form = Object.entries(config).filter(([key]) => key === 'store' || key === 'values');
  const from = manifest.codecFile.sha256;
  return { name, ...Object.fromEntries(form), from } as unknown as CodecChoice;
}

/** The codec of a part; `UNSUPPORTED` if it is to encode and cannot. */
async function encoderOf(
  part: LabelArchive,
  labels: LabelSource,
  { codec: asked, add }: AppendLabelsOptions,
  kernels: Kernels,
) {
  using codec = CODECS.load(part.codecParts, kernels);
  const { name, anyTau, tau: ownTau } = codec;
  if (asked !== undefined) {
    const descriptor = CODECS.of(asked);
    return { ownTau, anyTau: descriptor.anyTau?.(asked as never) ?? false };
  }
  const cannotEncode = (expected: string, cause?: unknown) =>
    new SoftpackError('UNSUPPORTED', `the archive's ${name} codec cannot encode more labels`, {
      field: 'codec',
      expected,
      found: JSON.stringify(canonicalJson(part.codecParts.config as JsonObject, 'codec')),
      cause,
    });
  if (add === 'samples' && codec.knowsSamples) {
    throw cannotEncode('a codec for these samples: this one has data of its own samples alone');
  }
  // Without what is mixed into its view no label of these can be encoded: errors come with the first that is.
  if (codec.usesViews) return { ownTau, anyTau };
  try {
    const context = { epoch: 0, samples: { start: 0, count: 1 } };
    await codec.encode(await labels.read(0, 0, 1), context);
  } catch (cause) {
    throw cannotEncode(`a codec for these ${add ?? 'epochs'}`, cause);
  }
  return { ownTau, anyTau };
}
