import { float16Tensor, float32Tensor } from '../../codecs/tensors.js';
import { thinned } from '../../codecs/training.js';
import { learnRowModel } from '../../codecs/transform/coded-matrix.js';
import type { Tensor } from '../../core/codec-parts.js';
import { float16ToFloat32, float32ToFloat16 } from '../../core/half.js';
import type { Kernels } from '../../kernels/types.js';
import { Renaming } from '../renaming.js';
import {
  type CoefficientSpace,
  coefficientSpace,
  coefficientsOf,
  leading,
  statesOf,
  stepClasses,
} from './coefficients.js';
import { type HiddenCodecConfig, MIDDLE_CLASS } from './config.js';
import { eigenbasis } from './eigenbasis.js';
import { HiddenEncoder, MOST_TIMES } from './encoder.js';
import { exactTensors } from './exact-codec.js';
import type { ExactIds, ExactRule } from './exact-ids.js';
import { type UnitRule, unitHistogram } from './exact-units.js';
import { HeadMetric, type SensitivityBasis } from './head-metric.js';
import { HiddenCodec, hiddenTensors, readHiddenModel } from './hidden-codec.js';
import { headDigest, type OutputHead } from './output-head.js';
import { BINS, binsOf, quantisePooled, STATES, unitOfClass, valuesOf } from './pooled.js';

/** Labels that the metric and the tables are learnt from, and those that the step is found with. */
const METRIC_LABELS = 2048;
const TABLE_LABELS = 2048;
const STEP_LABELS = 256;
/** Trials of a step, and how near to the wanted divergence, as a logarithm, ends them. */
const STEP_TRIALS = 8;
const STEP_TOLERANCE = 0.02;
/** Power of the step that the divergence grows with: 2 for small ones, less where values become zero. */
const STEP_POWER = 1.9;
/** Unit of a correction by the square root of the divergence aimed at, and what a bit of one is worth by the divergence. */
const UNIT = 1;
const SLOPE = 0.0025;
/** Share of the divergence that states may make; the rest is rounding of corrections. */
const STATE_SHARE = 0.85;
/** Coefficients whose deviation is below this share of the smallest unit are left out. */
const LEAST_DEVIATION = 0.25;

export interface HiddenLearning {
  readonly head: OutputHead;
  /** Mean divergence of decoded labels from exact ones that is aimed at, in nats. */
  readonly kl: number;
  /** Labels that will be stored. */
  readonly labels: number;
  readonly storeHead: boolean;
  readonly kernels: Kernels;
  /** Which logits are corrected. */
  readonly rule: ExactRule;
}

/** Learns basis, step, tables from hidden states [count, width]. */
export async function learnHidden(
  states: Float32Array,
  { head, kl: wanted, labels, storeHead, kernels, rule }: HiddenLearning,
): Promise<HiddenEncoder> {
  const metric = new HeadMetric(head, kernels, rule);
  const kl = rule.most === 0 ? wanted : STATE_SHARE * wanted;
  const whole = await learnSpace(states, metric, head.width, kernels);
  const some = thinned(states, TABLE_LABELS, head.width);
  const all = await metric.sensitivityBasis(whole.basis);
  const found = await metric.sensitivities(some, all);
  const reference = medianOf(found.values);
  const classes = stepClasses(found.values, reference);
  const values = await coefficientsOf(some, whole, kernels);
  const tuning = { states: some, values, classes, exact: found.exact };
  const step = await findStep(tuning, whole, metric, kl, kernels);
  const rank = rankFor(whole, step);
  const space = leading(whole, rank);
  const sensitivity: SensitivityBasis =
    rank === head.width ? all : await metric.sensitivityBasis(space.basis);
  const units = { step: UNIT * Math.sqrt(wanted), slope: SLOPE * wanted };
  const counts = await countExact(states, metric, head.vocabulary, rule);
  const learning = { ...{ step, head, labels, storeHead, kernels, rule }, metric, units, counts };
  const codec = await learnCodec(tuning, space, learning);
  const parts = { metric, space, sensitivity, reference, kl, slope: units.slope };
  return new HiddenEncoder(codec, parts, kernels);
}

/** How often each id is listed. */
async function countExact(
  states: Float32Array,
  metric: HeadMetric,
  vocabulary: number,
  { most }: ExactRule,
): Promise<Float64Array> {
  const counts = new Float64Array(vocabulary);
  if (most === 0) return counts;
  for (const { ids } of await metric.exactIds(states)) for (const id of ids) counts[id]++;
  return counts;
}

async function learnSpace(
  states: Float32Array,
  metric: HeadMetric,
  width: number,
  kernels: Kernels,
): Promise<CoefficientSpace> {
  const count = states.length / width;
  const sums = new Float64Array(width);
  for (let i = 0; i < states.length; i++) sums[i % width] += states[i];
  const mean = Float32Array.from(sums, (sum) => sum / count);
  const centred = states.map((value, i) => value - mean[i % width]);
  const products = new Float32Array(width * width);
  const shape = { rows: width, inner: count, columns: width, transposeA: true };
  await kernels.projectAsync({ a: centred, b: centred, out: products, ...shape });
  const covariance = Float64Array.from(products, (sum) => sum / count);
  const fisher = await metric.meanFisher(thinned(states, METRIC_LABELS, width));
  return coefficientSpace(eigenbasis(fisher, covariance, width, count), mean);
}

/** Labels to try steps with. */
interface TuningLabels {
  /** [labels, width]. */
  readonly states: Float32Array;
  /** [labels, width], all coefficients. */
  readonly values: Float32Array;
  readonly classes: Uint8Array;
  readonly exact: readonly ExactIds[];
}

/** The step whose labels diverge as much as is wanted. */
async function findStep(
  tuning: TuningLabels,
  space: CoefficientSpace,
  metric: HeadMetric,
  kl: number,
  kernels: Kernels,
): Promise<number> {
  const { width } = space;
  const states = thinned(tuning.states, STEP_LABELS, width);
  const values = thinned(tuning.values, STEP_LABELS, width);
  const classes = Uint8Array.from(thinned(Float32Array.from(tuning.classes), STEP_LABELS));
  let step = Math.sqrt((24 * kl) / width);
  for (let trial = 0; trial < STEP_TRIALS; trial++) {
    const own = leading(space, rankFor(space, step));
    const kept = narrowed(values, width, own.rank);
    const bins = binsOf(own.deviations, step);
    const { indices, shifts } = quantisePooled(kept, classes, step, bins, kernels);
    const found = valuesOf(indices, classes, step, shifts, kernels);
    const decoded = await statesOf(found, own, kernels);
    const distance = meanOf(await metric.divergences(states, decoded), classes, kl);
    const change = Math.log(kl / Math.max(distance, kl / 64));
    if (Math.abs(change) < STEP_TOLERANCE) break;
    step *= Math.exp(change / STEP_POWER);
  }
  return step;
}

/** The mean, as it will be when labels that diverge too much are coded finer. */
function meanOf(distances: Float64Array, classes: Uint8Array, kl: number): number {
  const most = MOST_TIMES * kl;
  const sum = distances.reduce(
    (all, own, i) => all + (classes[i] > MIDDLE_CLASS ? Math.min(own, most) : own),
    0,
  );
  return sum / distances.length;
}

function rankFor({ deviations }: CoefficientSpace, step: number): number {
  const least = LEAST_DEVIATION * unitOfClass(step, 0);
  return Math.max(1, deviations.filter((deviation) => deviation >= least).length);
}

/** What a codec is learnt with, besides labels. */
type CodecLearning = Omit<HiddenLearning, 'kl'> & {
  readonly step: number;
  readonly metric: HeadMetric;
  readonly units: UnitRule;
  /** [vocabulary], how often each id's logit is corrected. */
  readonly counts: Float64Array;
};

async function learnCodec(
  tuning: TuningLabels,
  space: CoefficientSpace,
  learning: CodecLearning,
): Promise<HiddenCodec> {
  const { head, step, labels, storeHead, kernels, rule, units } = learning;
  const { rank, width, mean, halves, scales } = space;
  const { classes } = tuning;
  const bins = binsOf(space.deviations, step);
  const values = narrowed(tuning.values, width, rank);
  const { indices, histograms, shifts } = quantisePooled(values, classes, step, bins, kernels);
  const repeats = labels / classes.length;
  const tables = learnRowModel(histograms, repeats, STATES);
  const tensors = hiddenTensors({ mean, shifts, bins }, { halves, scales }, tables.bytes);
  if (storeHead) tensors.set('head', headTensor(head));
  const config: HiddenCodecConfig = {
    ...{ vocabulary: head.vocabulary, width, rank, step, states: STATES, bins: BINS },
    head: headDigest(head),
    ...(rule.most === 0 ? {} : { exact: rule.most, exactStep: units.step }),
  };
  if (rule.most > 0) {
    const found = valuesOf(indices, classes, step, shifts, kernels);
    const decoded = await statesOf(found, space, kernels);
    for (const [name, tensor] of await learnExact(tuning.exact, decoded, repeats, learning)) {
      tensors.set(name, tensor);
    }
  }
  return new HiddenCodec(config, readHiddenModel(tensors, config), kernels);
}

/** Names of ids, and the table of corrections of these states. */
async function learnExact(
  exact: readonly ExactIds[],
  decoded: Float32Array,
  repeats: number,
  { metric, units, counts }: CodecLearning,
): Promise<Map<string, Tensor>> {
  const corrections = await metric.corrections(decoded, exact);
  const histogram = unitHistogram(corrections, exact, units);
  const tables = learnRowModel([histogram], repeats, 1);
  return exactTensors(Renaming.byFrequency(counts), tables.bytes);
}

/** As float16 if that is exact, as it is of most matrices that were bfloat16 or float16 before. */
function headTensor({ weights, vocabulary, width }: OutputHead): Tensor {
  const halves = new Uint16Array(weights.length);
  float32ToFloat16(weights, halves);
  const back = new Float32Array(weights.length);
  float16ToFloat32(halves, back);
  const exact = back.every((value, i) => value === weights[i]);
  const shape = [vocabulary, width];
  return exact ? float16Tensor(weights, shape) : float32Tensor(weights, shape);
}

/** The first `to` of every `from` columns. */
function narrowed(values: Float32Array, from: number, to: number): Float32Array {
  if (from === to) return values;
  const rows = values.length / from;
  const out = new Float32Array(rows * to);
  for (let row = 0; row < rows; row++) {
    out.set(values.subarray(row * from, row * from + to), row * to);
  }
  return out;
}

function medianOf(values: Float64Array): number {
  return values.slice().sort()[values.length >> 1];
}
