import type { CodecTraining } from '../descriptor.js';
import { thinned } from '../training.js';
import { addPredictions } from './base-vectors.js';
import { dequantiseBasis, quantiseBasis } from './basis.js';
import { TransformCodec } from './codec.js';
import { learnRowModel } from './coded-matrix.js';
import { blockFor, MAX_COMPONENTS } from './config.js';
import type { TransformSized } from './descriptor.js';
import { type DrawnLabels, drawLabels, projected } from './drawn-labels.js';
import { type LearntModel, modelOf } from './model.js';
import { quantiseLabels } from './pilot.js';
import { dualOf } from './project.js';
import { baseStep, roundToUnits, unitOf } from './quantiser.js';
import { entropyBits } from './tables.js';

/** Labels that entropy tables are learnt from. */
const TABLE_LABELS = 16_384;

export async function trainTransform(
  choice: TransformSized,
  context: CodecTraining,
): Promise<TransformCodec> {
  const drawn = await drawLabels(context, choice.components ?? MAX_COMPONENTS);
  const { components = drawn.rank, step = 1, states = 4 } = choice;
  return learnCodec(drawn, { components, step, states }, context);
}

export interface Settings {
  readonly components: number;
  readonly step: number;
  readonly states: 1 | 4 | 8;
  /** Base vectors of least squares, [samples, rank]. */
  readonly bases?: Float64Array;
}

/** Learns everything that follows from the settings: basis, tables, shifts. */
export async function learnCodec(
  drawn: DrawnLabels,
  { components: rank, step, states, bases: exact }: Settings,
  { classes, labels, tau, kernels }: CodecTraining,
): Promise<TransformCodec> {
  const { mean, components, deviations } = drawn;
  const shape = { rank, classes };
  const coded = quantiseBasis(mean, components, deviations, shape, step, labels);
  const basis = dequantiseBasis(coded, shape);
  const dual = dualOf(basis.components, rank, classes);
  const some = thinned(drawn.centred, TABLE_LABELS, classes);
  const count = some.length / classes;
  const latents = await projected(some, dual, classes, kernels);
  const bases = exact && codedBases(exact, drawn.rank, rank, step);
  if (bases !== undefined) {
    const samples = bases.length / rank;
    const values = new Float32Array(bases.length);
    for (let j = 0; j < rank; j++) {
      for (let i = 0; i < samples; i++)
        values[i * rank + j] = bases[j * samples + i] * baseStep(step);
    }
    addPredictions(latents, values, rank, thinnedMixes(drawn, count), -1);
  }
  const unit = unitOf(step, states);
  const scaled = latents.map((value) => value / unit);
  const { histograms, shifts } = quantiseLabels(scaled, rank, states);
  const bits = histograms.reduce((sum, own) => sum + entropyBits(own), 0) / count;
  const codes = learnRowModel(histograms, labels / count, states);
  const config = {
    ...{ classes, tau, components: rank, step, states, views: drawn.mixed },
    bases: bases === undefined ? 0 : bases.length / rank,
    labelsPerBlock: blockFor(Math.max(bits, 1)),
  };
  const learnt: LearntModel = { basis: coded, shifts, codes, ...(bases && { bases }) };
  return new TransformCodec(config, modelOf(learnt, config, kernels), kernels);
}

/** Base vectors [samples, of] as multiples of their step, [rank, samples]. */
function codedBases(exact: Float64Array, of: number, rank: number, step: number): Int16Array {
  const samples = exact.length / of;
  const values = new Float32Array(rank * samples);
  for (let i = 0; i < samples; i++) {
    for (let j = 0; j < rank; j++) values[j * samples + i] = exact[i * of + j];
  }
  const indices = new Int16Array(values.length);
  roundToUnits(values, 1 / baseStep(step), indices);
  return indices;
}

/** The mixes of the labels that `thinned` leaves. */
function thinnedMixes({ mixes, count }: DrawnLabels, kept: number) {
  const places = Uint32Array.from({ length: kept }, (_, i) => Math.floor((i * count) / kept));
  return {
    sample: places.map((i) => mixes.sample[i]),
    partner: places.map((i) => mixes.partner[i]),
    lambda: Float32Array.from(places, (i) => mixes.lambda[i]),
  };
}
