import type { RansModel, Trellis } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import type { CodecTraining } from '../descriptor.js';
import { thinned } from '../training.js';
import { addPredictions } from './base-vectors.js';
import { dequantiseBasis, quantiseBasis } from './basis.js';
import { TransformCodec } from './codec.js';
import { learnRowModel } from './coded-matrix.js';
import { blockFor } from './config.js';
import { type DrawnLabels, projected, thinnedMixes } from './drawn-labels.js';
import { baseVectors, type LearntModel, modelOf } from './model.js';
import { quantiseLabels } from './pilot.js';
import { dualOf } from './project.js';
import { baseStep, roundToUnits, transposed, unitOf } from './quantiser.js';
import { entropyBits } from './tables.js';

/** Labels that entropy tables are learnt from. */
const TABLE_LABELS = 16_384;
/** Bytes of a block besides its stream: number of labels, offset. */
const BLOCK_BESIDES = 6;

export interface Settings {
  readonly components: number;
  readonly step: number;
  readonly states: Trellis;
  /** Base vectors of least squares, [samples, rank]. */
  readonly bases?: Float64Array;
}

/** A codec, and the bits that all labels and its tensors take. */
export interface Learnt {
  readonly codec: TransformCodec;
  readonly bits: number;
}

/** Learns everything that follows from the settings: basis, tables, shifts. */
export async function learnCodec(
  drawn: DrawnLabels,
  { components: rank, step, states, bases: exact }: Settings,
  { classes, samples, labels, tau, kernels }: CodecTraining,
): Promise<Learnt> {
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
    const values = baseVectors(bases, rank, step);
    addPredictions(latents, values, rank, thinnedMixes(drawn, count), -1);
  }
  const unit = unitOf(step, states);
  const scaled = latents.map((value) => value / unit);
  const { indices, histograms, shifts } = quantiseLabels(scaled, rank, states, kernels);
  const entropy = histograms.reduce((sum, own) => sum + entropyBits(own), 0) / count;
  const codes = learnRowModel(histograms, labels / count, states);
  const config = {
    ...{ classes, tau, components: rank, step, states, views: drawn.mixed },
    bases: bases === undefined ? 0 : bases.length / rank,
    labelsPerBlock: blockFor(Math.max(entropy, 1)),
  };
  const learnt: LearntModel = { basis: coded, shifts, codes, ...(bases && { bases }) };
  const model = modelOf(learnt, config, kernels);
  const piece = Math.min(config.labelsPerBlock, samples);
  const bytes = codedBytes(indices, rank, piece, codes.model, kernels);
  let tensors = 0;
  for (const { data } of model.tensors.values()) tensors += data.length;
  const codec = new TransformCodec(config, model, kernels);
  return { codec, bits: (8 * bytes * labels) / count + 8 * tensors };
}

/** Bytes of labels in blocks of this many, with their lengths and offsets. */
function codedBytes(
  indices: Int16Array,
  rank: number,
  labels: number,
  model: RansModel,
  kernels: Kernels,
): number {
  let [bytes, blocks] = [0, 0];
  for (let begin = 0; begin < indices.length; begin += labels * rank) {
    const values = transposed(indices.slice(begin, begin + labels * rank), rank);
    const columns = values.length / rank;
    bytes += kernels.encodeRans({ ...model, values, columns }).length;
    blocks += columns / labels;
  }
  return bytes + BLOCK_BESIDES * Math.max(blocks, 1);
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
