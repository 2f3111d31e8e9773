import type { Tensor } from '../../core/codec-parts.js';
import type { TrainingState } from '../checkpoints.js';
import { AdamW } from '../math/adamw.js';
import { float32Tensor, readFloat32, requireTensor } from '../tensors.js';
import type { VqaeLosses, VqaeParameters, VqaeShape } from './gradients.js';

type Name = keyof VqaeParameters;

const NAMES: readonly Name[] = ['projection', 'decoder', 'codebook'];

/** AdamW with the unit of its step: the parameter's root mean square at the start. */
interface Optimiser {
  readonly unit: number;
  readonly adamw: AdamW;
}

/** Everything that the next step of a training depends on, besides its labels and options. */
export class VqaeState {
  readonly parameters: VqaeParameters;
  readonly #optimisers: Readonly<Record<Name, Optimiser>>;
  /** Members of each codeword since the last check. */
  readonly usage: Uint32Array;
  /** Losses as shares of the labels' variance, one entry per step done. */
  readonly curve: VqaeLosses[] = [];
  revived = 0;

  private constructor(
    parameters: VqaeParameters,
    optimisers: Readonly<Record<Name, Optimiser>>,
    usage: Uint32Array,
  ) {
    this.parameters = parameters;
    this.#optimisers = optimisers;
    this.usage = usage;
  }

  /** @param weightDecay of projection and decoder. */
  static start(parameters: VqaeParameters, { k }: VqaeShape, weightDecay: number): VqaeState {
    const units = NAMES.map((name) => rootMeanSquare(parameters[name]));
    return new VqaeState(
      parameters,
      optimisersOf(parameters, units, weightDecay),
      new Uint32Array(k),
    );
  }

  /** `INVALID_FILE` if these are not the tensors of {@link tensors} for such a codec. */
  static from(tensors: TrainingState, shape: VqaeShape, weightDecay: number): ResumedVqae {
    const { classes, dh, dc, k } = shape;
    const lengths = { projection: classes * dh, decoder: dh * classes, codebook: k * dc };
    const read = (name: string, of: Name) => readFloat32(tensors, name, [lengths[of]]).slice();
    const all = NAMES.map((name) => [name, read(name, name)] as const);
    const parameters = Object.fromEntries(all) as unknown as VqaeParameters;
    const [revived, words, ...units] = doubles(tensors, 'counters', 2 + NAMES.length);
    const usage = requireTensor(tensors, 'usage', 'U32', [k]).slice();
    const state = new VqaeState(
      parameters,
      optimisersOf(parameters, units, weightDecay),
      new Uint32Array(usage.buffer),
    );
    const steps = (tensors.get('curve')?.shape[0] ?? 0) / 2;
    const curve = doubles(tensors, 'curve', 2 * steps);
    for (let step = 0; step < steps; step++) {
      const [reconstruction, quantisation] = curve.subarray(2 * step);
      state.curve.push({ reconstruction, quantisation });
    }
    for (const name of NAMES) {
      const moments = { mean: read(`${name}.mean`, name), square: read(`${name}.square`, name) };
      state.#optimisers[name].adamw.restore(moments, steps);
    }
    state.revived = revived;
    return { state, words };
  }

  /** @param words random words drawn so far. */
  tensors(words: number): TrainingState {
    const tensors = new Map<string, Tensor>();
    const add = (name: string, values: Float32Array) =>
      tensors.set(name, float32Tensor(values, [values.length]));
    for (const name of NAMES) {
      const { mean, square } = this.#optimisers[name].adamw.moments;
      add(name, this.parameters[name]);
      add(`${name}.mean`, mean);
      add(`${name}.square`, square);
    }
    const usage = new Uint8Array(this.usage.slice().buffer);
    tensors.set('usage', { dtype: 'U32', shape: [this.usage.length], data: usage });
    const units = NAMES.map((name) => this.#optimisers[name].unit);
    tensors.set('counters', doublesTensor([this.revived, words, ...units]));
    const curve = this.curve.flatMap((losses) => [losses.reconstruction, losses.quantisation]);
    tensors.set('curve', doublesTensor(curve));
    return tensors;
  }

  update(name: Name, gradients: VqaeParameters, rate: number): void {
    const { unit, adamw } = this.#optimisers[name];
    adamw.update(this.parameters[name], gradients[name], rate * unit);
  }
}

export interface ResumedVqae {
  readonly state: VqaeState;
  readonly words: number;
}

function optimisersOf(
  parameters: VqaeParameters,
  units: readonly number[],
  weightDecay: number,
): Readonly<Record<Name, Optimiser>> {
  const all = NAMES.map((name, i) => {
    const decay = name === 'codebook' ? 0 : weightDecay;
    const adamw = new AdamW(parameters[name].length, { weightDecay: decay });
    return [name, { unit: units[i], adamw }] as const;
  });
  return Object.fromEntries(all) as unknown as Record<Name, Optimiser>;
}

function rootMeanSquare(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum / values.length);
}

function doublesTensor(values: readonly number[]): Tensor {
  const data = new Uint8Array(Float64Array.from(values).buffer);
  return { dtype: 'F64', shape: [values.length], data };
}

function doubles(tensors: TrainingState, name: string, count: number): Float64Array {
  return new Float64Array(requireTensor(tensors, name, 'F64', [count]).slice().buffer);
}
