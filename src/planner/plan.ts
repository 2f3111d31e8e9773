import type { ArchiveBytes } from '../archive/archive.js';
import { predictArchive } from '../archive/size.js';
import type { CodecRegistry } from '../codecs/codec-registry.js';
import type { NamedChoice, PaperLabels } from '../codecs/descriptor.js';
import { CODECS } from '../codecs/registry.js';
import type { Problem } from '../core/check.js';
import { isSoftpackError, SoftpackError } from '../errors.js';
import { defaultTrainingLabels } from '../pipeline/training-labels.js';
import { planForBytes, pruneForBytes, vqaeLevelSet } from './choose.js';
import { fullBytes, prunedBytes } from './formulas.js';

export type PlanRequest = {
  readonly classes: number;
  /** Distilled images per class. */
  readonly ipc: number;
  readonly epochs: number;
  /** Size of the teacher's file. */
  readonly teacherBytes?: number;
  /** Size of an image as it is shipped. */
  readonly imageBytes: number;
  /** Labels per batch, for label pruning. */
  readonly batch: number;
} & (
  | { /** Full labels over the whole archive. */ readonly ratio: number }
  | { /** Size of the whole archive. */ readonly bytes: number }
);

export interface CodecPlan {
  readonly name: string;
  readonly parameters: string;
  readonly bitsPerLabel: number;
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
  /** Epochs of labels that fit into the teacher's size at the ratio asked for. */
  readonly epochsAtBudget?: number;
}

/** Sizes of a set of labels by every codec, at a budget of bytes; nothing is measured. */
export function planLabels(request: PlanRequest): LabelPlan;
/** @internal */
export function planLabels(request: PlanRequest, codecs: CodecRegistry): LabelPlan;
export function planLabels(request: PlanRequest, codecs: CodecRegistry = CODECS): LabelPlan {
  const { classes, ipc, epochs, imageBytes, teacherBytes, batch } = request;
  const samples = ipc * classes;
  const labels = { classes, samples, epochs };
  const set = { classes, labels: samples * epochs };
  const full = fullBytes(set);
  const budget = 'ratio' in request ? full / request.ratio : request.bytes;
  if (!(budget > 0 && full / budget >= 1)) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not a size below that of full labels', {
      field: 'ratio' in request ? 'ratio' : 'bytes',
      expected: 'ratio' in request ? 'at least 1' : `at most ${full}`,
      found: 'ratio' in request ? request.ratio : budget,
    });
  }
  const described = (codec: NamedChoice): CodecPlan => describePlan(codec, labels, set, codecs);
  const scalable = codecs.scalable.map((name) =>
    attempt(name, () => {
      const plan = planForBytes(name, labels, budget, {}, codecs);
      return plan === undefined ? TOO_LARGE : described(plan.codec);
    }),
  );
  const attempts = [
    ...scalable,
    attempt('prune', () => prunedPlan(labels, set, batch, budget)),
    attempt('none', () => described({ name: 'none' })),
  ];
  const levelSet = vqaeLevelSet(labels, budget).map(({ codec, bytes, suggested }) => {
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
    ...(teacherBytes === undefined
      ? {}
      : { teacher: teacherPlan(teacherBytes, samples, epochs, full, budget) }),
  };
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
  labels: LabelPlan['labels'],
  set: PaperLabels,
  codecs: CodecRegistry,
): CodecPlan {
  const shape = codecs.shape(codec, labels);
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
  bytes: number,
  samples: number,
  epochs: number,
  full: number,
  budget: number,
): TeacherPlan {
  return {
    bytes,
    forwardPassesAnEpoch: samples,
    forwardPasses: samples * epochs,
    smallerFrom: full / bytes,
    epochsAtBudget: Math.floor((bytes / budget) * epochs),
  };
}

function parametersOf(codec: NamedChoice): string {
  const own = Object.entries(codec).filter(([key, value]) => key !== 'name' && value !== undefined);
  return own.map(([key, value]) => `${key} ${value}`).join(', ');
}
