import { requireMemory } from '../../core/allocate.js';
import type { Kernels } from '../../kernels/types.js';
import type { CodecTraining } from '../descriptor.js';
import { thinned } from '../training.js';
import { addPredictions, BaseFit } from './base-vectors.js';
import type { PredictiveSized, TransformSized } from './choice.js';
import type { FittedBases } from './coded-bases.js';
import { type DrawnLabels, projected, thinnedMixes } from './drawn-labels.js';
import { mixesOf } from './mixes.js';
import { type LearntNetwork, learnPredictor } from './network/learn.js';
import { type Candidate, meanSquares, type PilotLabels } from './pilot.js';
import { centreLogits } from './project.js';
import { Turn } from './turn.js';

/** Labels that steps are tried on. */
const PILOT_LABELS = 2048;
/** Labels that components of what is left over are found on. */
const TURNED_LABELS = 16_384;
/** Samples whose likeliest class is found at a time, and most classes that differences of two fit 16 bits. */
const LIKENED_SAMPLES = 512;
const MOST_LIKENED = 2 ** 15;
/** Bytes that fitting takes for each entry of a base vector. */
const FIT_BYTES = 48;
/** Enough for 1.28 million samples of 128 components. */
const MOST_FIT_BYTES = 8 * 2 ** 30;

/** A way to predict labels, with the components that suit it. */
export interface Predictor extends Candidate {
  readonly network?: LearntNetwork;
  /** With a network, in components of what it leaves over. */
  readonly drawn: DrawnLabels;
  readonly pilot: PilotLabels;
}

interface Parts extends Pick<Predictor, 'network'> {
  /** Base vectors of least squares, [samples, rank]. */
  readonly bases?: Float64Array;
}

/** The predictors that a choice allows, the simplest first; never none. */
export async function predictorsOf(
  choice: TransformSized | PredictiveSized,
  drawn: DrawnLabels,
  context: CodecTraining,
): Promise<readonly Predictor[]> {
  const bases = choice.bases === false ? undefined : await fitBases(drawn, context);
  const simple: Parts[] = bases === undefined ? [{}] : [{}, { bases }];
  const networks = await networksOf(choice, drawn, context);
  const forced = choice.name === 'predictive' && choice.network === true && networks.length > 0;
  const all = forced ? networks : [...simple, ...networks];
  const fitting = all.filter(
    (own) => choice.bases === undefined || (own.bases !== undefined) === choice.bases,
  );
  const predictors: Predictor[] = [];
  for (const parts of fitting.length > 0 ? fitting : all) {
    predictors.push(await predictorOf(parts, drawn, context));
  }
  return predictors;
}

async function networksOf(
  choice: TransformSized | PredictiveSized,
  drawn: DrawnLabels,
  context: CodecTraining,
): Promise<readonly Parts[]> {
  if (choice.name !== 'predictive' || choice.network === false) return [];
  const learnt = await learnPredictor(drawn, context, context.training?.seed ?? 0);
  if (learnt === undefined) return [];
  const { network, bases } = learnt;
  return [{ network }, { network, bases }];
}

async function predictorOf(
  { bases: fitted, network: learnt }: Parts,
  labels: DrawnLabels,
  context: CodecTraining,
): Promise<Predictor> {
  const { classes, kernels } = context;
  const { rank } = labels;
  const pilotOf = async (own: DrawnLabels, most: number): Promise<PilotLabels> => {
    const some = thinned(own.centred, most, classes);
    const latents = await projected(some, own.components, classes, kernels);
    return { latents, rank, mixes: thinnedMixes(own, some.length / classes) };
  };
  if (learnt === undefined) {
    const pilot = await pilotOf(labels, PILOT_LABELS);
    if (fitted === undefined) return { drawn: labels, pilot };
    const likeliest = await likeliestClasses(fitted, labels, context);
    const bases = fittedBases(fitted, pilot.latents, pilot, context);
    return { drawn: labels, pilot, bases: { ...bases, ...(likeliest && { likeliest }) } };
  }
  const { latents: left, mixes } = await pilotOf(labels, TURNED_LABELS);
  learnt.rounded(rank, kernels).addTo(left, rank, mixes, -1);
  if (fitted !== undefined) addPredictions(left, Float32Array.from(fitted), rank, mixes, -1);
  const turn = await Turn.to(left, rank, kernels);
  const drawn = await turn.labels(labels);
  const vectors = fitted && Float64Array.from(await turn.vectors(Float32Array.from(fitted)));
  const network = await learnt.turned(turn, drawn.deviations);
  const pilot = await pilotOf(drawn, PILOT_LABELS);
  const { rest, bits } = restOf(network, pilot, kernels);
  const bases = vectors && fittedBases(vectors, rest, pilot, context);
  return { drawn, pilot, network, rest, bits, ...(bases && { bases }) };
}

/** @param rest [labels, rank], what nothing else predicts. */
function fittedBases(
  vectors: Float64Array,
  rest: Float32Array,
  { mixes, rank }: PilotLabels,
  { labels }: CodecTraining,
): FittedBases {
  const left = rest.slice();
  addPredictions(left, Float32Array.from(vectors), rank, mixes, -1);
  const { sample, partner, lambda } = mixes;
  const squares = Array.from(lambda, (own, i) =>
    partner[i] === sample[i] ? 1 : own ** 2 + (1 - own) ** 2,
  );
  const mean = squares.reduce((sum, own) => sum + own, 0) / squares.length;
  const weight = (mean * labels * rank) / vectors.length;
  return { vectors, rank, left: meanSquares(left, rank), weight };
}

/** The likeliest class of what base vectors stand for. */
async function likeliestClasses(
  vectors: Float64Array,
  { mean, components, rank }: DrawnLabels,
  { classes, kernels }: CodecTraining,
): Promise<Uint32Array | undefined> {
  const samples = vectors.length / rank;
  if (classes > MOST_LIKENED) return undefined;
  const likeliest = new Uint32Array(samples);
  for (let begin = 0; begin < samples; begin += LIKENED_SAMPLES) {
    const end = Math.min(begin + LIKENED_SAMPLES, samples);
    const some = Float32Array.from(vectors.subarray(begin * rank, end * rank));
    const logits = new Float32Array((end - begin) * classes);
    const shape = { rows: end - begin, inner: rank, columns: classes };
    await kernels.projectAsync({ a: some, b: components, out: logits, ...shape });
    for (let i = begin; i < end; i++) {
      const own = logits.subarray((i - begin) * classes, (i - begin + 1) * classes);
      let best = 0;
      for (let c = 1; c < classes; c++) if (own[c] + mean[c] > own[best] + mean[best]) best = c;
      likeliest[i] = best;
    }
  }
  return likeliest;
}

/** What a network leaves over of the pilot's labels, and what it costs. */
function restOf(
  network: LearntNetwork,
  { latents, mixes, rank }: PilotLabels,
  kernels: Kernels,
): Required<Pick<Candidate, 'rest' | 'bits'>> {
  const rest = latents.slice();
  const rounded = network.rounded(rank, kernels);
  rounded.addTo(rest, rank, mixes, -1);
  const { outer, ...others } = Object.fromEntries(
    Array.from(rounded.tensors, ([name, { data }]) => [name, 8 * data.length]),
  );
  const fixed = Object.values(others).reduce((sum, own) => sum + own, 0);
  return { rest, bits: { fixed, each: outer / rank } };
}

/** Not where no sample has several labels, and where they take much memory: the same on every machine, for plan and codec may be made on two. */
export function fitsBases(
  { samples, labels }: { readonly samples: number; readonly labels: number },
  { mixed, rank }: Pick<DrawnLabels, 'mixed' | 'rank'>,
): boolean {
  if (labels < 2 * samples && !mixed) return false;
  return FIT_BYTES * samples * rank <= MOST_FIT_BYTES;
}

/** Base vectors of least squares for all labels, if they can be fitted. */
async function fitBases(
  drawn: DrawnLabels,
  context: CodecTraining,
): Promise<Float64Array | undefined> {
  const { classes, labels, tau, kernels } = context;
  if (!fitsBases(context, drawn)) return undefined;
  requireMemory(
    FIT_BYTES * context.samples * drawn.rank,
    'base vectors (bases: false does without)',
  );
  const fit = new BaseFit(drawn.rank);
  if (drawn.count === labels) {
    fit.add(await projected(drawn.centred, drawn.components, classes, kernels), drawn.mixes);
  } else {
    await context.scanLogits(async (logits, known) => {
      const centred = centreLogits(logits, classes, tau, kernels, { mean: drawn.mean });
      fit.add(await projected(centred, drawn.components, classes, kernels), mixesOf(known));
    });
  }
  return fit.solve();
}
