import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ArchiveBytes, LabelArchive } from '../archive/archive.js';
import { createArchive, requireUnfinished } from '../archive/create.js';
import { trainingLabels } from '../archive/identity.js';
import { type PartRecord, partFolder } from '../archive/parts.js';
import { callRecord, type Provenance } from '../archive/provenance.js';
import type { Pruning } from '../archive/pruning.js';
import type { PlannedLabels } from '../archive/size.js';
import { firstTau, type TauSchedule, temperaturesOf } from '../archive/tau-schedule.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { NamedChoice, Pilot } from '../codecs/descriptor.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import type { VqaeTraining } from '../codecs/vqae/trainer.js';
import type { WriterLock } from '../container/lock.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import type { JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { Kernels } from '../kernels/types.js';
import type { LabelDivergence } from '../labels/divergence.js';
import { requireLogits } from '../labels/inspection.js';
import { probabilitySource } from '../labels/probabilities.js';
import type { LabelSource } from '../labels/source.js';
import { unreachableSize } from './archive-size.js';
import { asOne } from './as-one.js';
import type { KeptCodec } from './kept-codec.js';
import { numberOf, type WeighedEpochs, weighedEpochs } from './kept-epochs.js';
import { filtered } from './label-filter.js';
import { openArchive } from './open-archive.js';
import { OutputFolder } from './output-folder.js';
import { DEFAULT_EPS, DEFAULT_TAU, type PackOptions } from './pack-options.js';
import {
  divergenceOfParts,
  type PartLabels,
  partsByTemperature,
  recordOf,
  withViews,
} from './pack-parts.js';
import { requestOf } from './pack-request.js';
import { openPackSource } from './pack-source.js';
import { archiveSpec, plannedLabels, type SpecOptions, scheduleOf } from './pack-spec.js';
import { PartialPack, requireSameRequest } from './partial-pack.js';
import { checkedChoice, Problems, requireOutput } from './preflight.js';
import { type SourceRows, storedPart } from './stored-part.js';
import { type TrainCodecOptions, trainCodec } from './train-codec.js';
import { withMixes } from './with-mixes.js';
import { divergenceOf, writeArchive } from './write-archive.js';

export interface PackResult {
  readonly codec: { readonly name: string; readonly config: Readonly<Record<string, unknown>> };
  /** Number of labels in the source, kept or pruned. */
  readonly labels: number;
  /** Epochs that the archive serves, and those that it stores. */
  readonly epochs: number;
  readonly storedEpochs: number;
  readonly classes: number;
  /** On disk, by part. */
  readonly bytes: ArchiveBytes;
  /** 2 bytes per class and label over bytes of codes, and over all bytes on disk. */
  readonly ratio: { readonly codes: number; readonly total: number };
  /** Divergence of the decoded labels from the full ones, over all labels in the archive. */
  readonly divergence: LabelDivergence;
  /** Training of the VQAE, the only codec trained in steps. */
  readonly training?: Pick<VqaeTraining, 'curve' | 'revived' | 'stepsPerSecond'>;
  /** Of a codec that finds its settings by a pilot, if it was trained in this run. */
  readonly pilot?: Pilot;
  /** What epochs were weighed, if their number was left open. */
  readonly weighed?: readonly WeighedEpochs[];
}

/** Trains a codec on logits and writes them, compressed, into an archive. Streams: a file is never whole in memory. */
export async function packLogits(options: PackOptions): Promise<PackResult> {
  const problems = new Problems();
  await problems.check(() => requirePackOutput(options));
  return withLogits(options, problems, packSource);
}

/** Opens the source of logits for {@link packSource} or the like. @internal */
export async function withLogits<T>(
  options: PackOptions,
  problems: Problems,
  use: (
    all: LabelSource,
    kernels: Kernels,
    asked: PackOptions,
    problems: Problems,
    rows?: SourceRows,
  ) => Promise<T>,
): Promise<T> {
  const kernels = options.kernels ?? loadKernels();
  if (typeof options.source !== 'string') {
    const all = { provenance: provenanceOf(options), ...options };
    return use(logitsOf(options.source, 'source', options), kernels, all, problems);
  }
  const path = options.source;
  await using source = await problems.need(() => openPackSource(path, kernels, options));
  const { labels, origin, tau, tauSchedule, ...rows } = source;
  const { keep } = rows;
  await problems.check(() => requireStored(path, keep, options));
  const settled = source.settled ? { labels: 'logits' as const } : {};
  const logits = logitsOf(labels, options.source, options);
  // A temperature that is asked for is one for all epochs.
  const own = options.tau === undefined ? { tau, tauSchedule } : { tau };
  const provenance = provenanceOf(options, source.provenance);
  const all = { ...origin, ...own, keep, provenance, ...given(options), ...settled };
  return await use(logits, kernels, all, problems, rows);
}

/** An archive has no labels of epochs that it serves without storing them. */
function requireStored(path: string, stored: number | undefined, { keep }: PackOptions): void {
  if (stored === undefined || keep === undefined || keep === 'auto' || keep <= stored) return;
  throw new SoftpackError('INVALID_ARGUMENT', `${path} stores fewer epochs than that`, {
    field: 'keep',
    expected: `at most ${stored}`,
    found: keep,
  });
}

function logitsOf(source: LabelSource, name: string, { labels }: PackOptions): LabelSource {
  return labels === 'probabilities' ? probabilitySource(source, name) : source;
}

/** `ALREADY_EXISTS` unless the directory is free, holds an unfinished archive, or one that may be finished. */
async function requirePackOutput({ out, acceptFinished }: PackOptions): Promise<void> {
  await requireOutput('out', out);
  const open = acceptFinished || PartialPack.isIn(out);
  if (open && (await finishedParts(out)) !== undefined) return;
  await requireUnfinished(out);
}

/** Facts about the labels have fields of their own in the manifest. */
function provenanceOf(options: PackOptions, source?: Provenance): Provenance {
  const {
    augmentation: _,
    classNames: _names,
    teacher: _teacher,
    images: _images,
    ...args
  } = options;
  return callRecord('packLogits', args, [source]);
}

/** Options that are not left open. */
function given(options: PackOptions): PackOptions {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as unknown as PackOptions;
}

/** {@link packLogits} of an open source. */
export async function packSource(
  all: LabelSource,
  kernels: Kernels,
  asked: PackOptions,
  problems: Problems,
  rows: SourceRows = {},
): Promise<PackResult> {
  const { parts, options, filter, weighed } = await planParts(all, asked, problems, rows);
  await using folder = await OutputFolder.open(options.out);
  const request = await requestOf(all, { ...options, filter });
  const result = await packParts(all, parts, { kernels, options, request, lock: folder.lock });
  await using archive = await openArchive(options.out);
  const { divergence, training, pilot } = result;
  return { ...resultOf(archive, divergence), training, pilot, weighed: weighed?.weighed };
}

/** Finds what to store, and how, and every objection to it that is known before a label is read. @internal */
export async function planParts(
  all: LabelSource,
  asked: PackOptions,
  problems: Problems,
  rows: SourceRows = {},
) {
  const { sides, views } = rows;
  const { eps = DEFAULT_EPS } = asked;
  const { tau = (asked.tauSchedule && firstTau(asked.tauSchedule)) ?? DEFAULT_TAU } = asked;
  const weighed = await problems.need(() => weighedEpochs(all, asked, rows));
  const keep = weighed?.keep ?? numberOf(asked.keep) ?? rows.keep;
  const options = { ...asked, tau, keep: keep === all.epochs ? undefined : keep };
  const { labels: adapted, filter } = await problems.need(() => filtered(all, options, rows));
  const { source, ...part } = await problems.need(() =>
    storedPart(withViews(adapted, views), options, rows),
  );
  const tauSchedule = await problems.check(() => scheduleOf(part, options));
  const whole = { source, sides, ...part, views };
  const split = await problems.check(() => splitByTemperature(whole, tauSchedule, options));
  const parts = await Promise.all(
    (split ?? [{ source, sides, tau, first: 0, spec: { ...part, views } }]).map(async (labels) => {
      const { columns } = labels.sides ?? {};
      const { tauSchedule: _, keep: _keep, ...rest } = options;
      const taus = split === undefined ? { tauSchedule } : {};
      const spec: SpecOptions = { ...rest, tau: labels.tau, ...taus, ...labels.spec, columns };
      const { classes, samples } = all;
      const served = split === undefined ? all : { classes, samples, epochs: spec.epochs };
      const full = fullBytes(served, part.pruning);
      const planned = plannedLabels(labels.source, spec);
      const choice =
        options.trained === undefined
          ? await checkedChoice({ ...spec, tau: labels.tau, eps }, planned, full, problems)
          : (options.codec as CodecChoice);
      const unreachable = (error: unknown) =>
        unreachableSize(error, options.codec, choice, planned, full, options.codecs ?? CODECS);
      return { ...labels, spec, choice, planned, unreachable };
    }),
  );
  problems.throwAll();
  return { parts, options, filter, weighed };
}

/** What to store in one folder, and how. */
interface PartPlan extends PartLabels {
  readonly spec: SpecOptions;
  readonly choice: CodecChoice;
  readonly planned: PlannedLabels;
  /** What an error says of the size that was asked for, if it tells that the codec cannot have it. */
  readonly unreachable: (error: unknown) => SoftpackError | undefined;
}

interface PartContext {
  readonly kernels: Kernels;
  readonly options: PackOptions;
  readonly request: JsonObject;
  readonly lock: WriterLock;
}

type PartResult = Pick<PackResult, 'divergence' | 'training' | 'pilot'>;

/** Further parts first: the manifest of the archive's own epochs, which lists them, makes it complete. */
async function packParts(
  all: LabelSource,
  [own, ...others]: readonly PartPlan[],
  context: PartContext,
): Promise<PartResult> {
  const { out } = context.options;
  const records: PartRecord[] = [];
  const found: (readonly [number, LabelDivergence])[] = [];
  const labelsOf = ({ source: { epochs, samples } }: PartPlan) => epochs * samples;
  const total = [own, ...others].reduce((sum, part) => sum + labelsOf(part), 0);
  let done = 0;
  const reported = (): PackOptions['onProgress'] => (progress) =>
    context.options.onProgress?.(
      progress.phase === 'encode' ? { ...progress, done: done + progress.done, total } : progress,
    );
  for (const [i, part] of others.entries()) {
    const name = partFolder(i + 1);
    const path = join(out, name);
    await using folder = await OutputFolder.open(path);
    const request = { ...context.request, part: i + 1 };
    const options = { ...context.options, out: path, onProgress: reported() };
    const { divergence } = await packPart(all, part, {
      ...{ ...context, options, request, lock: folder.lock },
    });
    found.push([labelsOf(part), divergence]);
    records.push(await recordOf(out, name, [part.first, part.first + part.spec.epochs]));
    done += labelsOf(part);
  }
  const options = { ...context.options, onProgress: reported() };
  const first = await packPart(all, own, { ...context, options }, records);
  const divergence = divergenceOfParts([[labelsOf(own), first.divergence], ...found]);
  return { ...first, divergence };
}

async function packPart(
  all: LabelSource,
  part: PartPlan,
  { kernels, options, request, lock }: PartContext,
  parts?: readonly PartRecord[],
): Promise<PartResult> {
  const { out, codecs = CODECS } = options;
  const { source, sides } = part;
  await using partial = await PartialPack.open(out, request);
  const known = partial.codec ?? (await finishedParts(out, request)) ?? options.trained;
  const { checkpoints } = partial;
  const trained = known ?? (await trainPart(all, part, kernels, { ...options, checkpoints }));
  using codec = codecs.load(trained.parts, kernels);
  const spec = { ...archiveSpec(source, codec, part.spec), request };
  const divergence = await writeArchive(viewed(part, codecs), codec, spec, {
    ...{ out, lock, partial, sides, parts },
    fresh: partial.codec === undefined ? trained : undefined,
    onProgress: (done, total) => options.onProgress?.({ phase: 'encode', done, total }),
    signal: options.signal,
  });
  await PartialPack.remove(out);
  const { pilot } = trained;
  return { divergence, training: trained.training as PackResult['training'], pilot };
}

/** The labels of a part, with what is mixed into their views if the codec looks at that. @internal */
export function viewed(
  { source, spec, sides, choice }: PartPlan,
  codecs: CodecRegistry,
): LabelSource {
  const { usesViews } = codecs.of(choice);
  return usesViews ? withMixes(source, spec, sides, usesViews) : source;
}

/** The codec of a part, learnt from its labels. @internal */
export async function trainPart(
  all: LabelSource,
  part: PartPlan,
  kernels: Kernels,
  options: PackOptions & Pick<TrainCodecOptions, 'checkpoints'>,
): Promise<KeptCodec> {
  const { spec, choice: codec, tau, unreachable } = part;
  if (options.labels === undefined) {
    const name = typeof options.source === 'string' ? options.source : 'source';
    await requireLogits(all, tau, name);
  }
  const { tauSchedule, pruning, epochs } = spec;
  const temperatures = tauSchedule && temperaturesOf(tauSchedule, pruning?.epochs ?? epochs);
  const settings = { ...options, tau, temperatures, codec };
  try {
    return await trainCodec(viewed(part, options.codecs ?? CODECS), kernels, settings);
  } catch (error) {
    throw unreachable(error) ?? error;
  }
}

function resultOf(archive: LabelArchive, divergence: LabelDivergence): PackResult {
  const { manifest, classes } = archive;
  const bytes = archive.bytes();
  const labels = trainingLabels({ ...manifest, epochs: archive.epochs, samples: archive.samples });
  const full = 2 * labels * classes;
  const ratio = { codes: full / bytes.codes, total: full / bytes.total };
  const { epochs, storedEpochs = epochs } = asOne(archive);
  return { codec: manifest.codec, labels, epochs, storedEpochs, classes, bytes, ratio, divergence };
}

/** Removes what a killed run left next to a finished archive of `packLogits`, and describes the archive. */
export async function settleFinished(out: string, codecs = CODECS): Promise<PackResult> {
  await using archive = await openArchive(out);
  const { manifest } = archive;
  const codecParts = await archive.wholeCodec();
  using codec = codecs.load(codecParts, loadKernels());
  const spec = { ...manifest, codec: codecParts, decoding: codec.decoding, columns: undefined };
  await using writer = await createArchive(out, spec, { resume: true });
  await writer.finish();
  await PartialPack.remove(out);
  return resultOf(archive, divergenceOf(manifest.result ?? {}));
}

/** Bytes of all labels that training uses, as half floats. */
function fullBytes(
  { samples, epochs, classes }: Pick<LabelSource, 'samples' | 'epochs' | 'classes'>,
  pruning?: Pruning,
): number {
  return 2 * classes * trainingLabels({ samples, epochs, pruning });
}

/** A part per temperature if the codec's labels have only one, and the schedule several. */
function splitByTemperature(
  whole: Parameters<typeof partsByTemperature>[0],
  schedule: TauSchedule | undefined,
  { codec, codecs = CODECS }: PackOptions,
): readonly PartLabels[] | undefined {
  const descriptor = codecs.of(codec);
  // That depends on what a codec stores, not on its size.
  if (schedule === undefined || descriptor.anyTau?.(codec as NamedChoice)) return undefined;
  return partsByTemperature(whole, schedule, descriptor.name);
}

/**
 * The codec of a finished archive, if there is one in the directory; `ALREADY_EXISTS` with the first difference if it
 * was made by another request.
 */
async function finishedParts(out: string, request?: JsonObject): Promise<KeptCodec | undefined> {
  if (!existsSync(join(out, MANIFEST_FILE))) return undefined;
  await using archive = await openArchive(out);
  if (request !== undefined) requireSameRequest(archive.manifest, request);
  return { parts: await archive.wholeCodec() };
}
