import type { Trellis } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import type { CodecTraining } from '../descriptor.js';
import { thinned } from '../training.js';
import { addPredictions } from './base-vectors.js';
import { dequantiseBasis, quantiseBasis } from './basis.js';
import type { TransformName } from './choice.js';
import { TransformCodec } from './codec.js';
import { dequantiseBases, type FittedBases, quantiseBases } from './coded-bases.js';
import { learnRowModel, type RowModel } from './coded-matrix.js';
import { blockFor, type NetworkConfig } from './config.js';
import { type DrawnLabels, projected, thinnedMixes } from './drawn-labels.js';
import { type LearntModel, modelOf, type TransformModel } from './model.js';
import type { LearntNetwork } from './network/learn.js';
import type { Network } from './network/network.js';
import { dualOf } from './project.js';
import { quantiseLabels } from './quantise-labels.js';
import { costsOf, labelBits, roundToUnits, transposed, unitOf } from './quantiser.js';
import { entropyBits } from './tables.js';
import { BASES_PER_BLOCK, BLOCKED_BASES } from './vector-blocks.js';

/** Labels that entropy tables are learnt from. */
const TABLE_LABELS = 16_384;
/** Bytes of a block before its stream: its number of labels. Offsets are the archive's. */
const BLOCK_HEAD = 2;
/** Standard errors that a size estimated from some labels leaves room for. */
const MARGIN = 3;

export interface Settings {
  readonly name: TransformName;
  readonly components: number;
  readonly step: number;
  readonly states: Trellis;
  readonly bases?: FittedBases;
  readonly network?: LearntNetwork;
}

/** A codec, and the most bits that all labels and its tensors take. */
export interface Learnt {
  readonly codec: TransformCodec;
  readonly bits: number;
}

/** Learns everything that follows from the settings: basis, tables, shifts. */
export async function learnCodec(
  drawn: DrawnLabels,
  { name, components: rank, step, states, bases: fitted, network: learntNetwork }: Settings,
  { classes, samples, labels, tau, kernels }: CodecTraining,
): Promise<Learnt> {
  const { mean, components, deviations } = drawn;
  const shape = { rank, classes };
  const spent = { step, labels };
  const coded = quantiseBasis({ mean, components }, deviations, shape, spent, kernels);
  const basis = dequantiseBasis(coded, shape, kernels);
  const dual = dualOf(basis.components, rank, classes);
  const some = thinned(drawn.centred, TABLE_LABELS, classes);
  const count = some.length / classes;
  // As the codec will see them: less the mean that it stores.
  const error = mean.map((value, j) => value - basis.mean[j]);
  const latents = await projected(
    some.map((value, i) => value + error[i % classes]),
    dual,
    classes,
    kernels,
  );
  const mixes = thinnedMixes(drawn, count);
  const network = learntNetwork?.rounded(rank, kernels);
  network?.addTo(latents, rank, mixes, -1);
  const bases = fitted && quantiseBases(fitted, basis.components, shape, step, kernels);
  const vectors = bases && dequantiseBases(bases, basis.components, shape, step, kernels);
  if (vectors !== undefined) addPredictions(latents, vectors, rank, mixes, -1);
  const unit = unitOf(step, states);
  const scaled = latents.map((value) => value / unit);
  const { histograms, shifts } = quantiseLabels(scaled, rank, states, kernels);
  const entropy = histograms.reduce((sum, own) => sum + entropyBits(own), 0) / count;
  const codes = learnRowModel(histograms, labels / count, states);
  const config = {
    ...{ classes, tau, components: rank, step, states, views: drawn.mixed },
    bases: bases === undefined ? 0 : bases.values.length / rank,
    ...(bases !== undefined && bases.values.length / rank > BLOCKED_BASES
      ? { basesPerBlock: BASES_PER_BLOCK, ...(bases.likeness && { likeness: true }) }
      : {}),
    sideStates: coded.states,
    labelsPerBlock: blockFor(Math.max(entropy, 1)),
    ...(network && { network: configOf(network) }),
  };
  const predicted = { ...(bases && { bases }), ...(network && { network }) };
  const learnt: LearntModel = { basis: coded, shifts, codes, ...predicted };
  const model = modelOf(learnt, config, kernels);
  let tensors = 0;
  for (const { data } of model.tensors.values()) tensors += data.length;
  // In their files an offset takes as much again as in a row, and headers and checksums some kB per 6 MB.
  tensors += 1.01 * (model.sampleBlocks?.row?.length ?? 0);
  const indices = quantisedBy(model, scaled, kernels);
  const rows = { samples, labels, labelsPerBlock: config.labelsPerBlock, rank };
  const bits = codedBits(indices, rows, codes, kernels) + 8 * tensors;
  return { codec: new TransformCodec(name, config, model, kernels), bits };
}

function configOf({ shape: { components: _, ...config } }: Network): NetworkConfig {
  return config;
}

/** Indices as the codec finds them, by its own tables. */
function quantisedBy(
  { codes, shifts }: TransformModel,
  values: Float32Array,
  kernels: Kernels,
): Int16Array {
  const out = new Int16Array(values.length);
  const { trellis } = codes;
  if (trellis === 1) roundToUnits(values, 1, out);
  else {
    const costs = costsOf(codes);
    kernels.quantise({ values, unit: 1, shifts, costs, trellis, out, threads: 1 });
  }
  return out;
}

interface CodedRows {
  /** Labels of a row, and of all rows. */
  readonly samples: number;
  readonly labels: number;
  readonly labelsPerBlock: number;
  readonly rank: number;
}

/** Most bits of all labels in blocks, by the indices of some or all of them. */
function codedBits(
  indices: Int16Array,
  { samples, labels, labelsPerBlock, rank }: CodedRows,
  { model, bytes: tables }: RowModel,
  kernels: Kernels,
): number {
  const count = indices.length / rank;
  const size = ([begin, end]: Range) => {
    const values = transposed(indices.slice(begin * rank, end * rank), rank);
    return BLOCK_HEAD + kernels.encodeRans({ ...model, values, columns: end - begin }).length;
  };
  const sizeOf = (blocks: readonly Range[]) => blocks.reduce((sum, own) => sum + size(own), 0);
  if (count === labels) {
    const rows = blocksOf([0, labels], samples);
    return 8 * sizeOf(rows.flatMap((row) => blocksOf(row, labelsPerBlock)));
  }
  // Labels drawn from all rows, in blocks as long as those of one row: whole ones, and what is left.
  const bytesOf = (length: number) => {
    const own = Math.min(length, count);
    const drawn = blocksOf([0, count - (count % own)], own);
    return (sizeOf(drawn) / drawn.length / own) * length;
  };
  const [whole, left] = [Math.floor(samples / labelsPerBlock), samples % labelsPerBlock];
  const row = (whole && whole * bytesOf(labelsPerBlock)) + (left && bytesOf(left));
  const mean = (8 * row) / samples;
  const bits = labelBits(indices, model, rank);
  const average = bits.reduce((sum, own) => sum + own, 0) / count;
  const variance = bits.reduce((sum, own) => sum + (own - average) ** 2, 0) / count;
  // Entries of tables fit the labels that they were learnt from best: a nat for each is what others cost more.
  const unseen = (1 - count / labels) * (tables.length * Math.LOG2E);
  return (
    labels * (mean + (MARGIN * Math.sqrt((1 - count / labels) * variance * count) + unseen) / count)
  );
}

type Range = readonly [begin: number, end: number];

function blocksOf([begin, end]: Range, length: number): readonly Range[] {
  return Array.from({ length: Math.ceil((end - begin) / length) }, (_, i) => [
    begin + i * length,
    Math.min(begin + (i + 1) * length, end),
  ]);
}
