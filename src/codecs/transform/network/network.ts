import type { CodecParts, Tensor } from '../../../core/codec-parts.js';
import { float16ToFloat32, float32ToFloat16 } from '../../../core/half.js';
import type { Kernels } from '../../../kernels/types.js';
import { invalidTensor, requireTensor } from '../../tensors.js';
import { bytesOf, bytesTensor, halvesTensor } from '../byte-tensors.js';
import { decodeMatrix, encodeMatrix } from '../coded-matrix.js';
import { cutMixes, type Mixes } from '../mixes.js';
import { transposed } from '../quantiser.js';
import {
  EMBEDDING_STEP,
  type FloatNetwork,
  HIDDEN,
  INPUTS,
  NUMBERS,
  OUTER_INPUTS,
} from './train.js';
import { CELLS, SHARE, VIEW_NUMBERS, viewNumbers } from './views.js';

/**
 * The predictor in whole numbers, so that every machine predicts the same: float32 products of integers are exact as long
 * as no sum reaches 2^24, which the weights are checked for. Layers see multiples of 1/128: sums of embeddings, in 64ths of
 * halves; numbers of the view; one. Weights are multiples of 2^-bits.
 */
const ONE = SHARE / EMBEDDING_STEP;
/** Largest number of an embedding, and unit of a hidden layer. */
const MOST = 31;
const MOST_HIDDEN = 2047;
/** Shares of cells are rounded one by one: their sum may exceed the whole. */
const MOST_SUM = (SHARE + CELLS / 2) * MOST;
const EXACT = 2 ** 24;
/** Weights are rounded to about this share of their deviation. */
const FINE = 1 / 8;
const MOST_BITS = 12;

/** Labels at a time: their layers stay in a cache. */
const CHUNK = 256;

export interface NetworkShape {
  /** Samples with an embedding. */
  readonly embeddings: number;
  readonly components: number;
  /** Weights of the layers are multiples of 2^-bits. */
  readonly innerBits: number;
  readonly outerBits: number;
}

export class Network {
  readonly shape: NetworkShape;
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** [samples, CELLS * NUMBERS]. */
  readonly #embeddings: Int16Array;
  /** [INPUTS, HIDDEN]. */
  readonly #inner: Float32Array;
  /** [components, OUTER_INPUTS]. */
  readonly #outer: Float32Array;
  /** [components], of a unit of the outer layer. */
  readonly #scales: Float32Array;
  readonly #kernels: Kernels;

  private constructor(
    shape: NetworkShape,
    tensors: ReadonlyMap<string, Tensor>,
    { embeddings, inner, outer, scales }: Integers,
    kernels: Kernels,
  ) {
    this.shape = shape;
    this.tensors = tensors;
    this.#embeddings = transposed(embeddings, shape.embeddings);
    this.#inner = Float32Array.from(inner);
    this.#outer = Float32Array.from(outer);
    const unit = 2 ** -shape.outerBits / ONE;
    this.#scales = new Float32Array(shape.components);
    float16ToFloat32(scales, this.#scales);
    for (let j = 0; j < shape.components; j++) this.#scales[j] *= unit;
    this.#kernels = kernels;
  }

  /** @param deviations [at least components], what latents were divided by. @param components to keep. */
  static rounded(
    learnt: FloatNetwork,
    deviations: Float64Array,
    components: number,
    kernels: Kernels,
  ): Network {
    const samples = learnt.embeddings.length / (CELLS * NUMBERS);
    const of = learnt.outer.length / OUTER_INPUTS;
    const numbers = Int16Array.from(learnt.embeddings, (value) =>
      Math.max(-MOST, Math.min(MOST, Math.round(value / EMBEDDING_STEP))),
    );
    const outer = Float32Array.from({ length: components * OUTER_INPUTS }, (_, i) => {
      const [j, k] = [Math.floor(i / OUTER_INPUTS), i % OUTER_INPUTS];
      return learnt.outer[k * of + j];
    });
    const [first, innerBits] = roundedWeights(learnt.inner, fitsInner);
    const [second, outerBits] = roundedWeights(outer, fitsOuter);
    const scales = new Uint16Array(components);
    float32ToFloat16(Float32Array.from(deviations.subarray(0, components)), scales);
    const shape = { embeddings: samples, components, innerBits, outerBits };
    const embeddings = transposed(numbers, CELLS * NUMBERS);
    const tensors = new Map<string, Tensor>([
      ['embeddings', bytesTensor(encodeMatrix(embeddings, samples, kernels))],
      ['inner', bytesTensor(encodeMatrix(first, HIDDEN, kernels))],
      ['outer', bytesTensor(encodeMatrix(second, OUTER_INPUTS, kernels))],
      ['scales', halvesTensor(scales)],
    ]);
    return new Network(
      shape,
      tensors,
      { embeddings, inner: first, outer: second, scales },
      kernels,
    );
  }

  /** Reads untrusted tensors. `INVALID_FILE` naming the one that is not of this shape. */
  static read(
    { tensors }: Pick<CodecParts, 'tensors'>,
    shape: NetworkShape,
    kernels: Kernels,
  ): Network {
    const matrix = (name: string, rows: number, columns: number) =>
      decodeMatrix(name, bytesOf(tensors, name), rows, columns, kernels);
    const embeddings = matrix('embeddings', CELLS * NUMBERS, shape.embeddings);
    const wrong = embeddings.find((value) => Math.abs(value) > MOST);
    if (wrong !== undefined) {
      throw invalidTensor('embeddings', 'too large', `at most ${MOST}`, wrong);
    }
    const inner = matrix('inner', INPUTS, HIDDEN);
    if (!fitsInner(inner)) throw invalidTensor('inner', 'too large', 'exact sums', 'others');
    const outer = matrix('outer', shape.components, OUTER_INPUTS);
    if (!fitsOuter(outer)) throw invalidTensor('outer', 'too large', 'exact sums', 'others');
    const bytes = requireTensor(tensors, 'scales', 'F16', [shape.components]);
    const scales = new Uint16Array(bytes.slice().buffer);
    const bad = scales.findIndex((scale) => scale >= 0x7c00);
    if (bad >= 0) throw invalidTensor('scales', 'no scale', 'finite, at least 0', `element ${bad}`);
    return new Network(shape, tensors, { embeddings, inner, outer, scales }, kernels);
  }

  /** Adds the predictions of labels to their latents [labels, rank], or subtracts them. */
  addTo(latents: Float32Array, rank: number, mixes: Mixes, sign: 1 | -1): void {
    const count = mixes.sample.length;
    for (let begin = 0; begin < count; begin += CHUNK) {
      const end = Math.min(begin + CHUNK, count);
      const own = latents.subarray(begin * rank, end * rank);
      this.#addChunk(own, rank, cutMixes(mixes, begin, end), sign);
    }
  }

  #addChunk(latents: Float32Array, rank: number, mixes: Mixes, sign: 1 | -1): void {
    const [rows, threads] = [mixes.sample.length, 1];
    const kernels = this.#kernels;
    const first = this.#inputsOf(mixes);
    const hidden = new Float32Array(rows * HIDDEN);
    const inner = { rows, inner: INPUTS, columns: HIDDEN, threads };
    kernels.project({ a: first, b: this.#inner, out: hidden, ...inner });
    const second = this.#outerInputsOf(first, hidden);
    const { components } = this.shape;
    const found = new Float32Array(rows * components);
    const outer = { rows, inner: OUTER_INPUTS, columns: components, transposeB: true, threads };
    kernels.project({ a: second, b: this.#outer, out: found, ...outer });
    const kept = Math.min(rank, components);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < kept; j++) {
        const predicted = Math.fround(found[i * components + j] * this.#scales[j]);
        latents[i * rank + j] += sign * predicted;
      }
    }
  }

  #inputsOf({ sample, partner, lambda, places }: Mixes): Float32Array {
    const numbers = places && viewNumbers(places, lambda);
    if (numbers === undefined) throw new Error('what views show is needed to predict labels');
    const rows = sample.length;
    const all = new Float32Array(rows * INPUTS);
    const width = CELLS * NUMBERS;
    for (let i = 0; i < rows; i++) {
      const [at, view] = [i * INPUTS, i * VIEW_NUMBERS];
      for (let image = 0; image < 2; image++) {
        const from = (image === 0 ? sample[i] : partner[i]) * width;
        for (let cell = 0; cell < CELLS; cell++) {
          const share = numbers[view + image * CELLS + cell];
          if (share === 0) continue;
          for (let k = 0; k < NUMBERS; k++) {
            all[at + image * NUMBERS + k] += share * this.#embeddings[from + cell * NUMBERS + k];
          }
        }
      }
      for (let k = 0; k < VIEW_NUMBERS; k++) {
        all[at + 2 * NUMBERS + k] = (ONE / SHARE) * numbers[view + k];
      }
      all[at + INPUTS - 1] = ONE;
    }
    return all;
  }

  /** What the outer layer sees of the inputs and of the inner layer's sums, which lose their bits. */
  #outerInputsOf(first: Float32Array, sums: Float32Array): Float32Array {
    const rows = first.length / INPUTS;
    const all = new Float32Array(rows * OUTER_INPUTS);
    const unit = 2 ** -this.shape.innerBits;
    for (let i = 0; i < rows; i++) {
      const at = i * OUTER_INPUTS;
      for (let k = 0; k < HIDDEN; k++) {
        const value = Math.floor(sums[i * HIDDEN + k] * unit + 0.5);
        all[at + k] = Math.min(Math.max(value, 0), MOST_HIDDEN);
      }
      for (let k = 0; k < NUMBERS; k++) {
        all[at + HIDDEN + k] = first[i * INPUTS + k] + first[i * INPUTS + NUMBERS + k];
      }
      all[at + OUTER_INPUTS - 1] = ONE;
    }
    return all;
  }
}

/** Tensors before they are coded, [numbers of an embedding, samples], as `inner` and `outer` of {@link Network}. */
interface Integers {
  readonly embeddings: Int16Array;
  readonly inner: Int16Array;
  readonly outer: Int16Array;
  readonly scales: Uint16Array;
}

/** Weights as multiples of 2^-bits, and as many bits as suit them and leave sums exact. */
function roundedWeights(
  weights: Float32Array,
  fits: (rounded: Int16Array) => boolean,
): readonly [Int16Array, number] {
  const squares = weights.reduce((sum, weight) => sum + weight * weight, 0);
  const deviation = Math.sqrt(squares / weights.length) || 1;
  const wanted = Math.round(-Math.log2(FINE * deviation));
  for (let bits = Math.max(0, Math.min(wanted, MOST_BITS)); bits > 0; bits--) {
    const rounded = Int16Array.from(weights, (weight) => {
      const value = Math.round(weight * 2 ** bits);
      return Math.max(-32767, Math.min(32767, value));
    });
    if (fits(rounded)) return [rounded, bits];
  }
  return [new Int16Array(weights.length), 0];
}

/** Whether no sum of the inner layer can reach what float32 rounds. */
function fitsInner(weights: Int16Array): boolean {
  const sums = new Float64Array(HIDDEN);
  for (let i = 0; i < weights.length; i++) {
    const row = Math.floor(i / HIDDEN);
    const most = row < 2 * NUMBERS ? MOST_SUM : ONE + ONE / SHARE;
    sums[i % HIDDEN] += most * Math.abs(weights[i]);
  }
  return sums.every((sum) => sum < EXACT);
}

function fitsOuter(weights: Int16Array): boolean {
  const sums = new Float64Array(weights.length / OUTER_INPUTS);
  for (let i = 0; i < weights.length; i++) {
    const k = i % OUTER_INPUTS;
    const most = k < HIDDEN ? MOST_HIDDEN : k < HIDDEN + NUMBERS ? 2 * MOST_SUM : ONE;
    sums[Math.floor(i / OUTER_INPUTS)] += most * Math.abs(weights[i]);
  }
  return sums.every((sum) => sum < EXACT);
}
