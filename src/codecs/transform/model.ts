import type { CodecParts, SampleBlocks, Tensor } from '../../core/codec-parts.js';
import type { RansModel } from '../../kernels/rans.js';
import type { Kernels } from '../../kernels/types.js';
import { Network } from '../predictive/network.js';
import { invalidTensor, requireTensor } from '../tensors.js';
import { type Basis, type CodedBasis, dequantiseBasis } from './basis.js';
import { bytesOf, bytesTensor, halvesTensor } from './byte-tensors.js';
import { decodeMatrix, encodeMatrix, type RowModel, readRowModel } from './coded-matrix.js';
import type { TransformConfig } from './config.js';
import { baseStep } from './quantiser.js';
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
  /** [components, bases], in steps of base vectors. */
  readonly bases?: Int16Array;
  readonly network?: Network;
}

export function modelOf(
  learnt: LearntModel,
  config: TransformConfig,
  kernels: Kernels,
): TransformModel {
  const { classes, components } = config;
  const tensors = new Map<string, Tensor>([
    ['basis', bytesTensor(encodeMatrix(learnt.basis.values, classes, kernels))],
    ['steps', halvesTensor(learnt.basis.steps)],
    ['shifts', bytesTensor(Uint8Array.from(learnt.shifts, (shift) => shift + 128))],
    ['tables', bytesTensor(learnt.codes.bytes)],
  ]);
  const blocked =
    learnt.bases === undefined || config.basesPerBlock === undefined
      ? undefined
      : encodeVectors(learnt.bases, config, kernels);
  if (blocked !== undefined) tensors.set('base_tables', bytesTensor(blocked.tables.bytes));
  else if (learnt.bases !== undefined) {
    tensors.set('bases', bytesTensor(encodeMatrix(learnt.bases, config.bases, kernels)));
  }
  for (const [name, tensor] of learnt.network?.tensors ?? []) tensors.set(name, tensor);
  return {
    basis: dequantiseBasis(learnt.basis, { rank: components, classes }),
    shifts: learnt.shifts,
    codes: learnt.codes.model,
    ...(blocked && {
      sampleBlocks: blocked.blocks,
      vectors: new VectorBlocks(config, blocked.tables.model, blocked.blocks, kernels),
    }),
    ...(learnt.bases === undefined || blocked !== undefined
      ? {}
      : { bases: baseVectors(learnt.bases, components, config.step) }),
    ...(learnt.network && { network: learnt.network }),
    tensors,
  };
}

export function readTransformModel(
  { tensors, sampleBlocks }: Pick<CodecParts, 'tensors' | 'sampleBlocks'>,
  config: TransformConfig,
  kernels: Kernels,
): TransformModel {
  const { classes, components, states } = config;
  const rows = 1 + components;
  const steps = new Uint16Array(requireTensor(tensors, 'steps', 'F16', [rows]).slice().buffer);
  const wrong = steps.findIndex((step) => step === 0 || step >= 0x7c00);
  if (wrong >= 0) throw invalidTensor('steps', 'not a step', 'finite, above 0', `element ${wrong}`);
  const values = decodeMatrix('basis', bytesOf(tensors, 'basis'), rows, classes, kernels);
  const stored = requireTensor(tensors, 'shifts', 'U8', [components]);
  const contexts = states === 1 ? 1 : 2;
  const tables = bytesOf(tensors, 'tables');
  const codes = readRowModel('tables', tables, components * contexts, states);
  if (codes.length !== tables.length) {
    throw invalidTensor('tables', 'wrong length', codes.length, tables.length);
  }
  const network = config.network && {
    network: Network.read({ tensors }, { ...config.network, components }, kernels),
  };
  const model = {
    ...network,
    basis: dequantiseBasis({ values, steps }, { rank: components, classes }),
    shifts: Int8Array.from(stored, (shift) => shift - 128),
    codes: codes.model,
    tensors,
  };
  if (config.bases === 0) return model;
  if (config.basesPerBlock !== undefined) {
    const own = bytesOf(tensors, 'base_tables');
    const { model: baseTables, length } = readRowModel('base_tables', own, components, 1);
    if (length !== own.length) {
      throw invalidTensor('base_tables', 'wrong length', length, own.length);
    }
    const vectors = new VectorBlocks(config, baseTables, sampleBlocks, kernels);
    return { ...model, vectors, ...(sampleBlocks && { sampleBlocks }) };
  }
  const stream = bytesOf(tensors, 'bases');
  const bases = decodeMatrix('bases', stream, components, config.bases, kernels);
  return { ...model, bases: baseVectors(bases, components, config.step) };
}

/** [components, bases] in steps to [bases, components]. */
export function baseVectors(values: Int16Array, components: number, step: number): Float32Array {
  const vectors = new Float32Array(values.length);
  const [count, unit] = [values.length / components, baseStep(step)];
  for (let j = 0; j < components; j++) {
    for (let i = 0; i < count; i++) vectors[i * components + j] = values[j * count + i] * unit;
  }
  return vectors;
}
