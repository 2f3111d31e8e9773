import type { CodecParts, SampleBlocks, Tensor } from '../../core/codec-parts.js';
import type { RansModel, Trellis } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import { invalidTensor, requireTensor } from '../tensors.js';
import { type Basis, type CodedBasis, dequantiseBasis } from './basis.js';
import { bytesOf, bytesTensor, halvesTensor } from './byte-tensors.js';
import { type CodedBases, dequantiseBases, differencesOf, type Likeness } from './coded-bases.js';
import { decodeMatrix, encodeMatrix, type RowModel, readRowModel } from './coded-matrix.js';
import type { TransformConfig } from './config.js';
import { Network } from './network/network.js';
import { encodeVectors, VectorBlocks } from './vector-blocks.js';

/** What a codec has learnt, as its tensors hold it. */
export interface TransformModel {
  readonly basis: Basis;
  /** [components], in 128ths of a unit. */
  readonly shifts: Int8Array;
  /** Entropy tables of labels. */
  readonly codes: RansModel;
  /** [bases, components]; absent if labels are coded as they are. */
  readonly bases?: Float32Array;
  /** The same, of many samples: decoded as they are needed. */
  readonly vectors?: VectorBlocks;
  readonly sampleBlocks?: SampleBlocks;
  /** Absent if labels are not predicted from what their views show. */
  readonly network?: Network;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** The parts of a model before they are encoded. */
export interface LearntModel {
  readonly basis: CodedBasis;
  readonly shifts: Int8Array;
  readonly codes: RowModel;
  readonly bases?: CodedBases;
  readonly network?: Network;
}

export function modelOf(
  learnt: LearntModel,
  config: TransformConfig,
  kernels: Kernels,
): TransformModel {
  const { classes, components, step } = config;
  const shape = { rank: components, classes };
  const { bases } = learnt;
  const { values, steps, shifts, states } = learnt.basis;
  const tensors = new Map<string, Tensor>([
    ['basis', bytesTensor(encodeMatrix(values, classes, kernels, states))],
    ['steps', halvesTensor(steps)],
    ['basis_shifts', shiftsTensor(shifts)],
    ['shifts', shiftsTensor(learnt.shifts)],
    ['tables', bytesTensor(learnt.codes.bytes)],
  ]);
  const basis = dequantiseBasis(learnt.basis, shape, kernels);
  const model = {
    ...{ basis, shifts: learnt.shifts, codes: learnt.codes.model, tensors },
    ...(learnt.network && { network: learnt.network }),
  };
  if (bases !== undefined) {
    tensors.set('base_shifts', shiftsTensor(bases.shifts));
    if (bases.steps !== undefined) tensors.set('base_steps', halvesTensor(bases.steps));
  }
  const blocked = bases !== undefined && config.basesPerBlock !== undefined;
  const coded = blocked ? encodeVectors(bases, config, kernels) : undefined;
  if (coded !== undefined) tensors.set('base_tables', bytesTensor(coded.tables.bytes));
  else if (bases !== undefined) {
    const stream = encodeMatrix(bases.values, config.bases, kernels, bases.states);
    tensors.set('bases', bytesTensor(stream));
  }
  if (bases !== undefined) {
    for (const [name, tensor] of likenessTensors(bases, kernels)) tensors.set(name, tensor);
  }
  for (const [name, tensor] of learnt.network?.tensors ?? []) tensors.set(name, tensor);
  if (bases === undefined) return model;
  if (coded !== undefined) {
    const { likeness, ...form } = bases;
    const own = { ...form, ...likenessOf(likeness, basis) };
    const vectors = new VectorBlocks(config, coded.tables.model, own, coded.blocks, kernels);
    return { ...model, sampleBlocks: coded.blocks, vectors };
  }
  return { ...model, bases: dequantiseBases(bases, basis.components, shape, step, kernels) };
}

function likenessTensors(
  { likeness }: CodedBases,
  kernels: Kernels,
): readonly (readonly [string, Tensor])[] {
  if (likeness === undefined) return [];
  const { classes, gains } = likeness;
  const differences = encodeMatrix(differencesOf(classes), classes.length, kernels);
  return [
    ['base_classes', bytesTensor(differences)],
    ['base_gains', halvesTensor(gains)],
  ];
}

function likenessOf(likeness: Likeness | undefined, { components: entries }: Basis) {
  return likeness && { likeness: { ...likeness, entries } };
}

function shiftsTensor(shifts: Int8Array): Tensor {
  return bytesTensor(Uint8Array.from(shifts, (shift) => shift + 128));
}

export function readTransformModel(
  { tensors, sampleBlocks }: Pick<CodecParts, 'tensors' | 'sampleBlocks'>,
  config: TransformConfig,
  kernels: Kernels,
): TransformModel {
  const { classes, components, states } = config;
  const rows = 1 + components;
  const shape = { rank: components, classes };
  const sides = config.sideStates ?? 1;
  const steps = halvesOf(tensors, 'steps', rows);
  requireSteps('steps', steps);
  const values = decodeMatrix('basis', bytesOf(tensors, 'basis'), rows, classes, kernels, sides);
  const shifts = shiftsOf(tensors, 'shifts', components);
  const coded = { values, steps, states: sides, shifts: sideShifts(tensors, 'basis', rows, sides) };
  const basis = dequantiseBasis(coded, shape, kernels);
  const tables = bytesOf(tensors, 'tables');
  const codes = readRowModel('tables', tables, components, states);
  if (codes.length !== tables.length) {
    throw invalidTensor('tables', 'wrong length', codes.length, tables.length);
  }
  const network = config.network && {
    network: Network.read({ tensors }, { ...config.network, components }, kernels),
  };
  const model = {
    ...network,
    ...{ basis, shifts },
    codes: codes.model,
    tensors,
  };
  if (config.bases === 0) return model;
  const baseSteps = tensors.has('base_steps')
    ? { steps: halvesOf(tensors, 'base_steps', components) }
    : undefined;
  if (baseSteps !== undefined) requireSteps('base_steps', baseSteps.steps);
  const form = {
    ...baseSteps,
    ...{ states: sides, shifts: sideShifts(tensors, 'base', components, sides) },
  };
  if (config.basesPerBlock !== undefined) {
    const own = bytesOf(tensors, 'base_tables');
    const { model: baseTables, length } = readRowModel('base_tables', own, components, sides);
    if (length !== own.length) {
      throw invalidTensor('base_tables', 'wrong length', length, own.length);
    }
    const known = config.likeness ? readLikeness(tensors, config, kernels) : undefined;
    const blockForm = { ...form, ...likenessOf(known, basis) };
    const vectors = new VectorBlocks(config, baseTables, blockForm, sampleBlocks, kernels);
    return { ...model, vectors, ...(sampleBlocks && { sampleBlocks }) };
  }
  const stream = bytesOf(tensors, 'bases');
  const indices = decodeMatrix('bases', stream, components, config.bases, kernels, sides);
  const likeness = readLikeness(tensors, config, kernels);
  const codedBases = { ...form, values: indices, ...(likeness && { likeness }) };
  const bases = dequantiseBases(codedBases, basis.components, shape, config.step, kernels);
  return { ...model, bases };
}

type Tensors = CodecParts['tensors'];

function halvesOf(tensors: Tensors, name: string, count: number): Uint16Array {
  return new Uint16Array(requireTensor(tensors, name, 'F16', [count]).slice().buffer);
}

function requireSteps(name: string, steps: Uint16Array): void {
  const wrong = steps.findIndex((step) => step === 0 || step >= 0x7c00);
  if (wrong >= 0) throw invalidTensor(name, 'not a step', 'finite, above 0', `element ${wrong}`);
}

function shiftsOf(tensors: Tensors, name: string, count: number): Int8Array {
  const stored = requireTensor(tensors, name, 'U8', [count]);
  return Int8Array.from(stored, (shift) => shift - 128);
}

function sideShifts(tensors: Tensors, name: string, rows: number, states: Trellis): Int8Array {
  return states === 1 ? new Int8Array(rows) : shiftsOf(tensors, `${name}_shifts`, rows);
}

function readLikeness(
  tensors: Tensors,
  config: TransformConfig,
  kernels: Kernels,
): Likeness | undefined {
  if (!tensors.has('base_classes') && config.likeness !== true) return undefined;
  const { bases, classes, components } = config;
  const stream = bytesOf(tensors, 'base_classes');
  const differences = decodeMatrix('base_classes', stream, 1, bases, kernels);
  let last = 0;
  const own = Uint32Array.from(differences, (difference, i) => {
    last += difference;
    if (last < 0 || last >= classes) {
      throw invalidTensor(
        'base_classes',
        'no such class',
        `0 to ${classes - 1}`,
        `${last} of ${i}`,
      );
    }
    return last;
  });
  const gains = halvesOf(tensors, 'base_gains', components);
  const wrong = gains.findIndex((gain) => (gain & 0x7c00) === 0x7c00);
  if (wrong >= 0) throw invalidTensor('base_gains', 'not a number', 'finite', `element ${wrong}`);
  return { classes: own, gains };
}
