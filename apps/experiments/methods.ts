import type { PlannedLabels } from '#src/archive/size.js';
import { CODECS, type CodecChoice, type SizedChoice } from '#src/codecs/registry.js';
import { archiveBytes, type TotalRatioChoice } from '#src/pipeline/archive-size.js';
import { keptEpochs } from '#src/pipeline/kept-epochs.js';
import type { PruneOptions } from '#src/pipeline/pruned-source.js';
import { planForBytes, pruneForBytes, type ScalableCodec } from '#src/planner/choose.js';
import { epochsOf, type LabelSet, type Setting } from './labels.js';
import { STUDENT_TRAINING } from './recipe.js';

/** Ways to store labels, by the names of the tables. */
export type MethodName =
  | 'none'
  | 'LPLD'
  | 'VQAE'
  | 'VQAE + LPLD'
  | 'LPQLD'
  | 'none, LPQLD temperatures'
  | 'VQAE, LPQLD temperatures'
  | 'VQAE, reuse'
  | 'VQAE, reuse, tau 20'
  | TransformName
  | 'predictive, reuse'
  | 'none, reuse'
  | 'PCA'
  | 'RPCA'
  | 'top-K'
  | 'top-K, renormalised'
  | 'FKD, hard'
  | 'FKD, smoothing'
  | 'FKD, marginal smoothing'
  | 'FerKD'
  | 'VQ'
  | 'scalar, 4 levels'
  | 'scalar, 8 levels'
  | 'mean per class'
  | 'random labels';

/** The transform codec at LPQLD's temperatures, as it is and with one part switched off. */
type TransformName =
  | 'transform, reuse'
  | 'transform, varied reuse'
  | 'transform'
  | 'transform, reuse, no base vectors'
  | 'transform, reuse, dead zone'
  | 'transform, reuse, 8 states'
  | 'transform, reuse, basis of 8 bits'
  | 'transform, reuse, tau 20';

/** A codec of fixed parameters with its further settings. */
export interface Method {
  readonly name: string;
  readonly codec: CodecChoice | TotalRatioChoice;
  readonly prune?: PruneOptions;
  /** Epochs that are stored; they serve all. */
  readonly keep?: number;
  /** Reused views are shown mirrored and moved. */
  readonly varied?: boolean;
  /** Labels of other views, as a control that carries no information. */
  readonly shuffled?: boolean;
  /** LPQLD's temperatures of labels and student. */
  readonly temperatures?: boolean;
  /** Temperature of labels and student, if not the set's. */
  readonly tau?: number;
  /** FerKD's adaptation of the labels. */
  readonly filter?: 'ferkd';
  /** Bytes of all, where the transform codec's basis counts as 8 bits an entry. */
  readonly plainBasisWithin?: number;
}

const SCALABLE: Partial<Record<MethodName, ScalableCodec>> = {
  VQAE: 'vqae',
  PCA: 'pca',
  RPCA: 'rpca',
  VQ: 'vq',
};

/** FKD's labels are probabilities at 1. */
const FKD_TAU = 1;
/** LPQLD prunes ten times before it drops logits; less if the whole ratio is small. */
const LPQLD_PRUNING = 10;
const COMPOSED_PRUNING = 2;
/** Stored epochs of the VQAE with reuse. */
const VQAE_KEPT_EPOCHS = 8;

const TRANSFORM_FORMS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'transform, reuse, no base vectors': { bases: false },
  'transform, reuse, dead zone': { states: 1 },
  'transform, reuse, 8 states': { states: 8 },
};

/** The method at `ratio` in total bytes, as near below as its parameters allow; `undefined` if none fit. */
export function methodAt(
  name: MethodName,
  ratio: number,
  set: LabelSet,
  { scale, emoji }: Setting,
): Method | undefined {
  const classes = emoji.classes.length;
  const samples = set.ipc * classes;
  const epochs = epochsOf(set, scale);
  const labels = { classes, samples, epochs };
  const budget = (2 * classes * samples * epochs) / ratio;
  const batchSize = STUDENT_TRAINING.batch;
  const scalable = SCALABLE[name];
  if (scalable !== undefined) return named(name, planForBytes(scalable, labels, budget));
  switch (name) {
    case 'none':
      return { name, codec: { name: 'none' } };
    case 'none, LPQLD temperatures':
      return { name, codec: { name: 'none' }, temperatures: true };
    case 'VQAE, LPQLD temperatures': {
      const plan = planForBytes('vqae', labels, budget);
      return plan && { name, codec: plan.codec, temperatures: true };
    }
    case 'VQAE, reuse':
    case 'VQAE, reuse, tau 20': {
      const keep = Math.min(VQAE_KEPT_EPOCHS, epochs);
      const codec = fullSizedVqae({ ...labels, epochs: keep }, budget);
      return codec && { name, codec, keep, temperatures: name === 'VQAE, reuse' };
    }
    case 'none, reuse': {
      const keep = Math.max(1, Math.round(epochs / ratio));
      return { name, codec: { name: 'none' }, keep, temperatures: true };
    }
    case 'transform':
    case 'transform, reuse':
    case 'transform, varied reuse':
    case 'transform, reuse, no base vectors':
    case 'transform, reuse, dead zone':
    case 'transform, reuse, 8 states':
    case 'transform, reuse, basis of 8 bits':
    case 'transform, reuse, tau 20':
    case 'predictive, reuse': {
      const codecName = name === 'predictive, reuse' ? 'predictive' : 'transform';
      const codec = { name: codecName, totalRatio: ratio, ...TRANSFORM_FORMS[name] } as const;
      const full = 2 * classes * samples * epochs;
      const reused = () => keptEpochs(codec, labels, full, CODECS).keep;
      const keep = name === 'transform' ? epochs : reused();
      const method = { name, codec, keep, temperatures: name !== 'transform, reuse, tau 20' };
      if (name === 'transform, varied reuse') return { ...method, varied: true };
      const plain = name === 'transform, reuse, basis of 8 bits';
      return plain ? { ...method, plainBasisWithin: budget } : method;
    }
    case 'random labels':
      return { name, codec: { name: 'none' }, shuffled: true };
    case 'scalar, 4 levels':
      return { name, codec: { name: 'scalar', levels: 4 } };
    case 'scalar, 8 levels':
      return { name, codec: { name: 'scalar', levels: 8 } };
    case 'mean per class': {
      const groups = Uint32Array.from({ length: samples }, (_, i) => i % classes);
      return { name, codec: { name: 'mean', groups } };
    }
    case 'top-K':
      return named(name, planForBytes('topk', labels, budget, { rest: 'uniform' }));
    case 'top-K, renormalised':
      return named(name, planForBytes('topk', labels, budget, { rest: 'zero' }));
    case 'FKD, hard':
      return { name, codec: { name: 'topk', k: 1, values: 'none', rest: 'zero' }, tau: FKD_TAU };
    case 'FKD, smoothing':
      return { name, codec: { name: 'topk', k: 1 }, tau: FKD_TAU };
    case 'FKD, marginal smoothing':
      return { name, codec: { name: 'topk', k: 5 }, tau: FKD_TAU };
    case 'FerKD':
      return { name, codec: { name: 'topk', k: 5 }, tau: FKD_TAU, filter: 'ferkd' };
    case 'LPLD': {
      const found = pruneForBytes(labels, batchSize, budget);
      return found && { name, codec: { name: 'none' }, prune: { ratio: found.ratio, batchSize } };
    }
    case 'LPQLD':
    case 'VQAE + LPLD': {
      const wanted = name === 'LPQLD' ? Math.min(LPQLD_PRUNING, ratio / 2) : COMPOSED_PRUNING;
      const perEpoch = Math.floor(samples / batchSize);
      const batches = Math.max(1, Math.floor((epochs * perEpoch) / wanted));
      const pool = { classes, samples: batchSize, epochs: batches };
      const form = { values: 'logits', rest: 'zero' } as const;
      const plan =
        name === 'LPQLD'
          ? planForBytes('topk', pool, budget, form)
          : planForBytes('vqae', pool, budget);
      const prune = { ratio: (epochs * perEpoch) / batches, batchSize };
      return plan && { name, codec: plan.codec, prune, temperatures: name === 'LPQLD' };
    }
    default:
      return undefined;
  }
}

/** The VQAE that fills the budget: the planner's leaves bytes over where labels are few, for it spares the decoder. */
function fullSizedVqae(labels: PlannedLabels, budget: number): SizedChoice | undefined {
  const planned = planForBytes('vqae', labels, budget)?.codec;
  if (planned?.name !== 'vqae' || planned.dc > 1) return planned;
  const at = (dh: number) => ({ ...planned, dh });
  let { dh } = planned;
  while (dh < labels.classes && archiveBytes(at(dh + 1), labels, CODECS) <= budget) dh++;
  return at(dh);
}

function named(name: string, plan: { readonly codec: CodecChoice } | undefined) {
  return plan && { name, codec: plan.codec };
}
