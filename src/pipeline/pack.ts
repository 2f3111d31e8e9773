import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ArchiveBytes, LabelArchive } from '../archive/archive.js';
import { createArchive, requireUnfinished } from '../archive/create.js';
import { trainingLabels } from '../archive/identity.js';
import type { Pruning } from '../archive/pruning.js';
import type { ArchiveSpec } from '../archive/spec.js';
import type { Codec } from '../codecs/codec.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { TrainedCodec } from '../codecs/descriptor.js';
import { CODECS, type CodecChoice } from '../codecs/registry.js';
import type { VqaeTraining, VqaeTrainingOptions } from '../codecs/vqae/trainer.js';
import { sha256 } from '../container/checksum.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { canonicalJson, type JsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { Kernels } from '../kernels/types.js';
import type { LabelDivergence } from '../labels/divergence.js';
import { type LabelKind, requireLogits } from '../labels/inspection.js';
import { probabilitySource } from '../labels/probabilities.js';
import type { LabelSource } from '../labels/source.js';
import type { TotalRatioChoice } from './archive-size.js';
import { openArchive } from './open-archive.js';
import { openPackSource, type SideRows } from './pack-source.js';
import { type KeptCodec, PartialPack, requireSameRequest } from './partial-pack.js';
import { checkedChoice, Problems, requireOutput } from './preflight.js';
import { type PruneOptions, prunedSource } from './pruned-source.js';
import { sourceFingerprint } from './source-fingerprint.js';
import { defaultTrainingLabels, drawTrainingLabels, scanLabels } from './training-labels.js';
import { divergenceOf, writeArchive } from './write-archive.js';

export interface PackOptions {
  /**
   * Logits [epochs, samples, classes]: a .npy, .npz or .safetensors file, or an open source; or an archive, whose
   * labels are packed again. What it knows of its labels goes into the new one, temperature included.
   */
  readonly source: string | LabelSource;
  /** Name of the array, if the file holds several. */
  readonly tensor?: string;
  /**
   * What the source's values are. By default logits, and refused if they look like anything else. `probabilities`
   * p become logits log p.
   */
  readonly labels?: LabelKind;
  /** Directory to write: new, empty, or with the unfinished archive of the same run, which is taken up. */
  readonly out: string;
  /**
   * By its parameters; by `ratio`, how many times smaller than float16 its codes are at least; or by `totalRatio`,
   * how many times smaller the whole archive is.
   */
  readonly codec: CodecChoice | TotalRatioChoice;
  /** @internal The codecs to choose from; default: softpack's own. */
  readonly codecs?: CodecRegistry;
  /** Keep the first 1/N of all batches only (LPLD); the codec stores what is kept. */
  readonly prune?: PruneOptions;
  /** Temperature of the labels, default 20, or the archive's own. */
  readonly tau?: number;
  /** Floor of the decoded probabilities before they are renormalised, default 1e-6. */
  readonly eps?: number;
  readonly training?: VqaeTrainingOptions;
  /** Most labels the codec is trained on; default as many as fit 128 MB, at most 32,768. */
  readonly trainingLabels?: number;
  /** Recorded in the manifest as they are. */
  readonly augmentation?: ArchiveSpec['augmentation'];
  readonly classNames?: readonly string[];
  readonly teacher?: ArchiveSpec['teacher'];
  readonly images?: ArchiveSpec['images'];
  readonly kernels?: Kernels;
  /** Return the result of a finished archive of the same request instead of refusing it; default false. */
  readonly acceptFinished?: boolean;
  readonly onProgress?: (progress: PackProgress) => void;
  readonly signal?: AbortSignal;
}

export interface PackProgress {
  readonly phase: 'read' | 'train' | 'encode';
  readonly done: number;
  readonly total: number;
  /** Reconstruction error of the last training step, as a share of the labels' variance. */
  readonly error?: number;
}

export interface PackResult {
  readonly codec: { readonly name: string; readonly config: Readonly<Record<string, unknown>> };
  /** Number of labels in the source, kept or pruned. */
  readonly labels: number;
  readonly classes: number;
  /** On disk, by part. */
  readonly bytes: ArchiveBytes;
  /** 2 bytes a class over bytes of codes, and over all bytes on disk. */
  readonly ratio: { readonly codes: number; readonly total: number };
  /** Divergence of the decoded labels from the full ones, over all labels in the archive. */
  readonly divergence: LabelDivergence;
  /** Training of the VQAE, the only codec trained in steps. */
  readonly training?: Pick<VqaeTraining, 'curve' | 'revived' | 'stepsPerSecond'>;
}

type TrainOptions = Omit<PackOptions, 'codec'> & { readonly codec: CodecChoice };
type SpecOptions = PackOptions & Pick<ArchiveSpec, 'pruning' | 'columns'>;

const DEFAULT_TAU = 20;
const DEFAULT_EPS = 1e-6;

/** Trains a codec on logits and writes them, compressed, into an archive. Streams: a file is never whole in memory. */
export async function packLogits(options: PackOptions): Promise<PackResult> {
  const problems = new Problems();
  await problems.check(() => requirePackOutput(options));
  const kernels = options.kernels ?? loadKernels();
  if (typeof options.source !== 'string') {
    return packSource(logitsOf(options.source, 'source', options), kernels, options, problems);
  }
  const path = options.source;
  await using source = await problems.need(() => openPackSource(path, kernels, options));
  const { labels, origin, tau } = source;
  const settled = source.settled ? { labels: 'logits' as const } : {};
  const logits = logitsOf(labels, options.source, options);
  const all = { ...origin, tau, ...given(options), ...settled };
  return await packSource(logits, kernels, all, problems, source.sides);
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

/** Options that are not left open. */
function given(options: PackOptions): PackOptions {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as unknown as PackOptions;
}

async function packSource(
  all: LabelSource,
  kernels: Kernels,
  options: PackOptions,
  problems: Problems,
  sides?: SideRows,
): Promise<PackResult> {
  const { source, pruning } = await problems.need(() => pruned(all, options, sides));
  const specOptions = { ...options, pruning, columns: sides?.columns };
  const choice = await choiceOf(all, source, specOptions, problems);
  problems.throwAll();
  const request = await requestOf(all, options);
  await using partial = await PartialPack.open(options.out, request);
  const known = partial.codec ?? (await finishedParts(options.out, request));
  if (known === undefined && options.labels === undefined) {
    const name = typeof options.source === 'string' ? options.source : 'source';
    await requireLogits(all, options.tau ?? DEFAULT_TAU, name);
  }
  const trained = known ?? (await train(source, kernels, { ...options, codec: choice }));
  using codec = (options.codecs ?? CODECS).load(trained.parts, kernels);
  const spec = { ...archiveSpec(source, codec, specOptions), request };
  const divergence = await writeArchive(source, codec, spec, {
    out: options.out,
    partial,
    sides,
    fresh: partial.codec === undefined ? trained : undefined,
    onProgress: (done, total) => options.onProgress?.({ phase: 'encode', done, total }),
    signal: options.signal,
  });
  await PartialPack.remove(options.out);
  await using archive = await openArchive(options.out);
  const training = trained.training as PackResult['training'];
  return { ...resultOf(archive, divergence), training };
}

function resultOf(archive: LabelArchive, divergence: LabelDivergence): PackResult {
  const { manifest, classes } = archive;
  const bytes = archive.bytes();
  const labels = trainingLabels(manifest);
  const full = 2 * labels * classes;
  const ratio = { codes: full / bytes.codes, total: full / bytes.total };
  return { codec: manifest.codec, labels, classes, bytes, ratio, divergence };
}

/** Removes what a killed run left next to a finished archive of `packLogits`, and tells what is in it. */
export async function settleFinished(out: string, codecs = CODECS): Promise<PackResult> {
  await using archive = await openArchive(out);
  const { manifest, codecParts } = archive;
  using codec = codecs.load(codecParts, loadKernels());
  const spec = { ...manifest, codec: codecParts, decoding: codec.decoding, columns: undefined };
  await using writer = await createArchive(out, spec, { resume: true });
  await writer.finish();
  await PartialPack.remove(out);
  return resultOf(archive, divergenceOf(manifest.result ?? {}));
}

function choiceOf(
  all: LabelSource,
  { classes, samples, epochs }: LabelSource,
  options: SpecOptions,
  problems: Problems,
): Promise<CodecChoice> {
  const { codec, codecs, tau = DEFAULT_TAU, eps = DEFAULT_EPS, trainingLabels } = options;
  const { augmentation, classNames, teacher, images, pruning, columns } = options;
  const known = { augmentation, classNames, teacher, images, pruning, columns };
  const full = 2 * all.epochs * all.samples * all.classes;
  const labels = { classes, samples, epochs, ...known };
  return checkedChoice({ codec, codecs, tau, eps, trainingLabels }, labels, full, problems);
}

/**
 * The codec of a finished archive, if there is one in the directory; `ALREADY_EXISTS` with the first difference if it
 * was made by another request.
 */
async function finishedParts(out: string, request?: JsonObject): Promise<KeptCodec | undefined> {
  if (!existsSync(join(out, MANIFEST_FILE))) return undefined;
  await using archive = await openArchive(out);
  if (request !== undefined) requireSameRequest(archive.manifest, request);
  return { parts: archive.codecParts };
}

/** Everything that the archive's bytes depend on: a run goes on with another's work only if these are equal. */
async function requestOf(source: LabelSource, options: PackOptions): Promise<JsonObject> {
  const { tau = DEFAULT_TAU, prune } = options;
  const request = { ...codecRequest(options), source: await sourceFingerprint(source), tau, prune };
  return canonicalJson(request, 'pack') as JsonObject;
}

/** The part of a request that tells how the codec was chosen and trained. */
export function codecRequest(
  options: Pick<PackOptions, 'codec' | 'eps' | 'training' | 'trainingLabels'>,
): JsonObject {
  const { codec, eps = DEFAULT_EPS, trainingLabels } = options;
  const { threads: _, ...training } = options.training ?? {};
  const groups =
    'groups' in codec && ArrayBuffer.isView(codec.groups) ? { groups: sha256Of(codec.groups) } : {};
  const request = { codec: { name: 'vqae', ...codec, ...groups }, eps, training, trainingLabels };
  return canonicalJson(request, 'pack') as JsonObject;
}

function sha256Of({ buffer, byteOffset, byteLength }: ArrayBufferView): string {
  return sha256(new Uint8Array(buffer, byteOffset, byteLength));
}

async function train(
  source: LabelSource,
  kernels: Kernels,
  options: TrainOptions,
): Promise<KeptCodec> {
  const { codec, training } = await trainOn(source, kernels, options);
  try {
    const parts = codec.parts({ encoder: true });
    if (training === undefined) return { parts };
    const { curve, revived, stepsPerSecond } = training;
    return { parts, training: { curve, revived, stepsPerSecond } };
  } finally {
    codec.dispose();
  }
}

function trainOn(
  source: LabelSource,
  kernels: Kernels,
  {
    codec,
    codecs = CODECS,
    tau = DEFAULT_TAU,
    eps = DEFAULT_EPS,
    training,
    trainingLabels,
    onProgress,
    signal,
  }: TrainOptions,
): Promise<TrainedCodec> {
  const { classes } = source;
  const limit = trainingLabels ?? defaultTrainingLabels(classes);
  return codecs.train(codec, {
    classes,
    samples: source.samples,
    labels: source.epochs * source.samples,
    tau,
    eps,
    draw: () =>
      drawTrainingLabels(source, {
        tau,
        limit,
        seed: training?.seed ?? 0,
        signal,
        onProgress: (done, total) => onProgress?.({ phase: 'read', done, total }),
      }),
    scan: (visit) => scanLabels(source, { tau, signal, visit }),
    kernels,
    training,
    signal,
    onProgress: (done, total, error) => onProgress?.({ phase: 'train', done, total, error }),
  });
}

function pruned(
  source: LabelSource,
  { prune, codec, codecs = CODECS }: PackOptions,
  sides: SideRows | undefined,
): { readonly source: LabelSource; readonly pruning?: Pruning } {
  if (prune === undefined) return { source };
  if (sides !== undefined) {
    throw new SoftpackError('UNSUPPORTED', 'rows of recorded views belong to epochs, not batches', {
      field: 'prune',
      expected: 'labels without recorded views',
      found: sides.columns.map(({ name }) => name).join(', '),
    });
  }
  if (codecs.of(codec).perSample) {
    throw new SoftpackError(
      'UNSUPPORTED',
      'labels of this codec depend on the sample: no batches to prune',
      {
        field: 'prune',
      },
    );
  }
  return prunedSource(source, prune);
}

function archiveSpec(source: LabelSource, codec: Codec, options: SpecOptions): ArchiveSpec {
  return {
    classes: source.classes,
    samples: source.samples,
    epochs: source.epochs,
    tau: codec.tau,
    codec: codec.parts(),
    layout: codec.layout,
    decoding: codec.decoding,
    augmentation: options.augmentation ?? null,
    classNames: options.classNames,
    teacher: options.teacher,
    images: options.images,
    pruning: options.pruning,
    columns: options.columns,
  };
}
