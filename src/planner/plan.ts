import type { ArchiveBytes } from '../archive/archive.js';
import { type PlannedLabels, predictArchive } from '../archive/size.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { NamedChoice, PaperLabels } from '../codecs/descriptor.js';
import { CODECS } from '../codecs/registry.js';
import { argument, type Problem } from '../core/check.js';
import { isSoftpackError, SoftpackError } from '../errors.js';
import { budgetOfChoice } from '../pipeline/archive-size.js';
import { keptEpochs, type WeighedEpochs } from '../pipeline/kept-epochs.js';
import { defaultTrainingLabels } from '../pipeline/training-labels.js';
import { planForBytes, pruneForBytes, vqaeLevelSet } from './choose.js';
import { fullBytes, prunedBytes } from './formulas.js';

export type PlanRequest = {
  readonly classes: number;
  /** Distilled images per class. */
  readonly ipc: number;
  readonly epochs: number;
  /** Size of the teacher's file; default 4 bytes per parameter. */
  readonly teacherBytes?: number;
  /** Of the teacher. */
  readonly teacherParameters?: number;
  /** Plan this codec only. */
  readonly codec?: string;
  /** Epochs to store; default all, or with codecs that store few bits per label as many as {@link keptEpochs} weighs. */
  readonly keep?: number;
  /** Size of an image as it is shipped. */
  readonly imageBytes: number;
  /** Labels per batch, for label pruning. */
  readonly batch: number;
} & (
  | { /** Full labels over the whole archive. */ readonly ratio: number }
  | { /** Size of the whole archive. */ readonly bytes: number }
  | { /** Bits per stored label of the transform codec, tensors included. */ readonly rate: number }
);

export interface CodecPlan {
  readonly name: string;
  readonly parameters: string;
  /** Of a stored label. */
  readonly bitsPerLabel: number;
  /** Epochs stored, if not all. */
  readonly storedEpochs?: number;
  /** What epochs were weighed, if their number was left open. */
  readonly weighed?: readonly WeighedEpochs[];
  /** Predicted, on disk. */
  readonly bytes: ArchiveBytes;
  /** Size by the paper's formula, without container and metadata; absent if it has none. */
  readonly formula?: number;
  /** Why this codec cannot be made here, e.g. for lack of memory. */
  readonly problem?: string;
}

/** A codec that cannot be of the size asked for. */
export interface ImpossiblePlan {
  readonly name: string;
  readonly reason: string;
}

export interface LabelPlan {
  readonly labels: { readonly classes: number; readonly samples: number; readonly epochs: number };
  /** Float16 labels, bytes. */
  readonly full: number;
  /** Size asked for, bytes. */
  readonly budget: number;
  /** Every codec that reaches the budget, the one nearest below it of each kind, and full labels. */
  readonly codecs: readonly CodecPlan[];
  /** The other codecs. */
  readonly impossible: readonly ImpossiblePlan[];
  /** Settings of the VQAE of about this size. */
  readonly levelSet: readonly {
    readonly dh: number;
    readonly dc: number;
    readonly k: number;
    readonly bytes: number;
    readonly suggested: boolean;
  }[];
  /** Images as they are shipped, bytes. */
  readonly images: number;
  readonly teacher?: TeacherPlan;
}

/** The control: no labels at all, but the teacher that makes them. */
export interface TeacherPlan {
  readonly bytes: number;
  readonly forwardPassesAnEpoch: number;
  readonly forwardPasses: number;
  /** The ratio above which an archive is smaller than the teacher. */
  readonly smallerFrom: number;
  /** The teacher in one byte per parameter, and the ratio above which an archive is smaller than that. */
  readonly int8?: { readonly bytes: number; readonly smallerFrom: number };
  /** Epochs of labels that fit into the teacher's size at the ratio asked for. */
  readonly epochsAtBudget?: number;
}

/** Sizes of a set of labels by every codec, at a budget of bytes; nothing is measured. */
export function planLabels(request: PlanRequest): LabelPlan;
/** @internal */
export function planLabels(request: PlanRequest, codecs: CodecRegistry): LabelPlan;
export function planLabels(request: PlanRequest, codecs: CodecRegistry = CODECS): LabelPlan {
  const { classes, ipc, epochs, imageBytes, batch, keep } = request;
  if (keep !== undefined) argument.count(keep, 'keep', 1, epochs);
  const samples = ipc * classes;
  const labels = { classes, samples, epochs };
  const set = { classes, labels: samples * epochs };
  const full = fullBytes(set);
  const budget = budgetFor(request, labels, full, codecs);
  if (!(budget > 0 && full / budget >= 1)) {
    const [field, found] =
      'ratio' in request
        ? ['ratio', request.ratio]
        : ['rate' in request ? 'rate' : 'bytes', budget];
    throw new SoftpackError('INVALID_ARGUMENT', 'not a size below that of full labels', {
      ...{ field, expected: field === 'ratio' ? 'at least 1' : `at most ${full}`, found },
    });
  }
  const storedIn = (name: string): Stored => {
    if (keep !== undefined) return { keep };
    if ('rate' in request || codecs.find(name)?.weighsEpochs !== true) return { keep: epochs };
    return keptEpochs({ name, totalBytes: budget }, labels, full, codecs);
  };
  const planned = (name: string) => {
    const stored = storedIn(name);
    const own = storing(labels, stored.keep);
    const plan = planForBytes(name, own, budget, {}, codecs);
    return plan === undefined ? TOO_LARGE : describePlan(plan.codec, own, stored, codecs);
  };
  const asked = (name: string) => request.codec === undefined || request.codec === name;
  const whole = storing(labels, keep ?? epochs);
  const none = () => describePlan({ name: 'none' }, whole, { keep: keep ?? epochs }, codecs);
  if (request.codec !== undefined) codecs.of({ name: request.codec });
  const attempts = [
    ...codecs.scalable.filter(asked).map((name) => attempt(name, () => planned(name))),
    ...(asked('prune') && keep === undefined
      ? [attempt('prune', () => prunedPlan(labels, set, batch, budget))]
      : []),
    ...(asked('none') ? [attempt('none', none)] : []),
  ];
  const settings = asked('vqae') ? vqaeLevelSet(whole, budget) : [];
  const levelSet = settings.map(({ codec, bytes, suggested }) => {
    const { dh, dc, k } = codec;
    return { dh, dc, k, bytes, suggested };
  });
  return {
    labels,
    full,
    budget,
    codecs: attempts.filter((plan) => 'bytes' in plan),
    impossible: attempts.filter((plan) => 'reason' in plan),
    levelSet,
    images: samples * imageBytes,
    ...teacherPlan(request, samples, full, budget),
  };
}

/** Epochs that a codec's archive stores. */
interface Stored extends Pick<CodecPlan, 'weighed'> {
  readonly keep: number;
}

function storing(labels: LabelPlan['labels'], keep: number): PlannedLabels {
  return keep === labels.epochs ? labels : { ...labels, storedEpochs: keep };
}

/** Bytes of the whole archive that are asked for. */
function budgetFor(
  request: PlanRequest,
  labels: LabelPlan['labels'],
  full: number,
  codecs: CodecRegistry,
): number {
  if ('ratio' in request) return full / request.ratio;
  if ('bytes' in request) return request.bytes;
  const { rate, codec: name, keep = labels.epochs } = request;
  const rated = name === undefined ? undefined : codecs.find(name);
  const has = rated?.parameters.some((own) => own.name === 'rate') === true;
  argument.that(has, name ?? 'no codec', 'codec', 'transform, whose size is a rate');
  const choice: object = { name, rate: argument.positive(rate, 'rate') };
  return budgetOfChoice(choice as NamedChoice, storing(labels, keep), codecs);
}

const TOO_LARGE = 'no setting of it is this small';

/** The plan of a codec, or why there is none. */
function attempt(name: string, plan: () => CodecPlan | string): CodecPlan | ImpossiblePlan {
  try {
    const found = plan();
    return typeof found === 'string' ? { name, reason: found } : found;
  } catch (error) {
    if (!isSoftpackError(error)) throw error;
    return { name, reason: error.message };
  }
}

function describePlan(
  codec: NamedChoice,
  labels: PlannedLabels,
  { keep, weighed }: Stored,
  codecs: CodecRegistry,
): CodecPlan {
  const shape = codecs.shape(codec, labels);
  const set: PaperLabels = { classes: labels.classes, labels: labels.samples * keep };
  const trainingLabels = defaultTrainingLabels(labels.classes);
  const context = {
    ...labels,
    labels: set.labels,
    trainingLabels,
    tau: 20,
    eps: 1e-6,
  };
  const problems = codecs.problemsOf(codec, context);
  return {
    name: codec.name,
    parameters: parametersOf(codec),
    bitsPerLabel: shape.bitsPerLabel,
    ...(keep === labels.epochs ? {} : { storedEpochs: keep }),
    ...(weighed && { weighed }),
    bytes: predictArchive(shape, labels),
    formula: codecs.of(codec).paperBytes?.(codec, set),
    ...(problems.length === 0 ? {} : { problem: problems.map(problemText).join('; ') }),
  };
}

function problemText({ message, expected, found }: Problem): string {
  return `${message} (expected ${expected}, found ${found})`;
}

function prunedPlan(
  labels: LabelPlan['labels'],
  set: PaperLabels,
  batch: number,
  budget: number,
): CodecPlan | string {
  if (batch > labels.samples) return `${labels.samples} images make no batch of ${batch}`;
  const found = pruneForBytes(labels, batch, budget);
  if (found === undefined) return TOO_LARGE;
  const batches = Math.round((labels.epochs * Math.floor(labels.samples / batch)) / found.ratio);
  const pool = { ...labels, samples: batch, epochs: batches };
  return {
    name: 'prune',
    parameters: `first 1/${found.ratio.toFixed(1)} of batches of ${batch}`,
    bitsPerLabel: (16 * labels.classes) / found.ratio,
    bytes: predictArchive(CODECS.shape({ name: 'none' }, pool), pool),
    formula: prunedBytes(set, found.ratio),
  };
}

function teacherPlan(
  { epochs, teacherParameters, teacherBytes }: PlanRequest,
  samples: number,
  full: number,
  budget: number,
): { readonly teacher?: TeacherPlan } {
  const bytes = teacherBytes ?? (teacherParameters && 4 * teacherParameters);
  if (bytes === undefined) return {};
  const int8 = teacherParameters && {
    bytes: teacherParameters,
    smallerFrom: full / teacherParameters,
  };
  return {
    teacher: {
      bytes,
      forwardPassesAnEpoch: samples,
      forwardPasses: samples * epochs,
      smallerFrom: full / bytes,
      ...(int8 && { int8 }),
      epochsAtBudget: Math.floor((bytes / budget) * epochs),
    },
  };
}

function parametersOf(codec: NamedChoice): string {
  const own = Object.entries(codec).filter(([key, value]) => key !== 'name' && value !== undefined);
  return own.map(([key, value]) => `${key} ${value}`).join(', ');
}
