import { argumentChecker, configOf } from '../codecs/config.js';
import { float32Tensor, invalidTensor, readFloat32, requireTensor } from '../codecs/tensors.js';
import type { CodecParts, Tensor } from '../core/codec-parts.js';
import { float16ToFloat32, toHalf } from '../core/half.js';
import { SoftpackError } from '../errors.js';
import type { Kernels } from '../kernels/types.js';
import { type BitReader, type BitWriter, readBelow, writeBelow } from './bit-stream.js';
import { checkTokenConfig, type TokenCodecConfig } from './config.js';
import type { ListedRows } from './listed-rows.js';
import { isPermutation, Renaming } from './renaming.js';
import { ResidualVq, STAGE_CODES } from './residual-vq.js';
import { readMultiset, readSet, writeMultiset, writeSet } from './set-code.js';

export const TOKEN_CODEC = 'tokens';

export const TOKEN_DECODING =
  'labels as docs/tokens.md has them: the set of ids, renamed by `ids`, in the binary interpolative code; float16 ' +
  'log-probabilities in the order of the set, or the order of the first ids and indices of `codebooks`; then the ' +
  'multiset of samples';

/** Values of a label with `vq` are kept above this: e^-20 of the mass. */
const LEAST_LOG = -20;
/** Of a sum of float32 probabilities. */
const ROUNDING = 2 ** -20;
/** Orders of ids are joined to words of at most this many values. */
const MAX_WORD = 2 ** 32;

/** A label as it is decoded: entries [width], probability 0 behind the last one. */
export interface DecodedLabel {
  readonly ids: Int32Array;
  readonly probabilities: Float32Array;
}

/** What a codec has learnt. */
export interface TokenModel {
  readonly renaming: Renaming;
  /** Present with `vq`: of vectors [log-probabilities of the ordered ids, log of the mass of the others] * scale. */
  readonly vq?: ResidualVq;
  /** [width of a vector]. */
  readonly scale?: Float32Array;
}

/** Labels of tokens as bits. The bits never depend on floating point but for the choice of codewords. */
export class TokenCodec {
  readonly config: TokenCodecConfig;
  readonly #model: TokenModel;
  readonly #kernels: Kernels;

  constructor(config: TokenCodecConfig, model: TokenModel, kernels: Kernels) {
    this.config = checkTokenConfig(config, argumentChecker(TOKEN_CODEC));
    this.#model = model;
    this.#kernels = kernels;
  }

  static fromParts(parts: CodecParts, kernels: Kernels): TokenCodec {
    const config = configOf(parts, checkTokenConfig);
    return new TokenCodec(config, readModel(parts.tensors, config), kernels);
  }

  /** Entries of a decoded label at most. */
  get width(): number {
    return this.config.k + this.config.samples;
  }

  parts(): CodecParts {
    const { renaming, vq, scale } = this.#model;
    const ids = new Uint8Array(renaming.ids.slice().buffer);
    const tensors = new Map<string, Tensor>([
      ['ids', { dtype: 'U32', shape: [renaming.ids.length], data: ids }],
    ]);
    if (vq !== undefined && scale !== undefined) {
      const shape = [vq.stages, STAGE_CODES, vq.width];
      tensors.set('codebooks', float32Tensor(vq.codebooks, shape));
      tensors.set('scale', float32Tensor(scale, [vq.width]));
    }
    return { name: TOKEN_CODEC, config: { ...this.config }, tensors, sampleTensors: new Map() };
  }

  /** Writes labels one after the other; `begins` is told of each before it is written. */
  async encode(
    rows: ListedRows,
    writer: BitWriter,
    begins: (row: number) => void = () => {},
  ): Promise<void> {
    const { values, k, samples } = this.config;
    const indices = values === 'vq' ? await this.#quantise(rows) : undefined;
    for (let row = 0; row < rows.rows; row++) {
      begins(row);
      const ids = rows.ids.subarray(row * k, row * k + rows.counts[row]);
      const names = Array.from(ids, (id) => this.#model.renaming.names[id]);
      if (indices === undefined) {
        this.#writeExact(writer, names, rows.logProbs.subarray(row * k));
      } else {
        const stages = indices.map((stage) => stage[row]);
        this.#writeQuantised(writer, names, stages);
      }
      const drawn = rows.samples.subarray(row * samples, (row + 1) * samples);
      const drawnNames = drawn.map((id) => this.#model.renaming.names[id]).sort();
      writeMultiset(writer, drawnNames, this.config.vocabulary);
    }
  }

  decode(reader: BitReader, out: DecodedLabel): void {
    const { values, samples, vocabulary } = this.config;
    out.ids.fill(0);
    out.probabilities.fill(0);
    const listed =
      values === 'vq' ? this.#readQuantised(reader, out) : this.#readExact(reader, out);
    boundMass(out.probabilities, listed);
    if (samples === 0) return;
    const drawn = new Uint32Array(samples);
    readMultiset(reader, drawn, vocabulary);
    this.#addSamples(drawn, listed, out);
    boundMass(out.probabilities, out.probabilities.length);
  }

  #writeExact(writer: BitWriter, names: readonly number[], logProbs: Float32Array): void {
    const { k, vocabulary } = this.config;
    if (k === 0) return;
    writeBelow(writer, names.length, k + 1);
    const order = ascending(names);
    writeSet(
      writer,
      order.map((i) => names[i]),
      vocabulary,
    );
    for (const i of order) writer.write(toHalf(logProbs[i]), 16);
  }

  #readExact(reader: BitReader, out: DecodedLabel): number {
    const { k, vocabulary } = this.config;
    if (k === 0) return 0;
    const count = readBelow(reader, k + 1);
    const names = new Uint32Array(count);
    readSet(reader, names, vocabulary);
    const halves = Uint16Array.from(names, () => reader.read(16));
    const logProbs = new Float32Array(count);
    float16ToFloat32(halves, logProbs);
    // From the most probable on; equal ones by name.
    const order = Array.from(names, (_, i) => i).sort((a, b) => logProbs[b] - logProbs[a] || a - b);
    for (const [at, i] of order.entries()) {
      if (!(logProbs[i] <= 0)) throw invalidLabel('log-probabilities of at most 0', logProbs[i]);
      out.ids[at] = this.#model.renaming.ids[names[i]];
      out.probabilities[at] = Math.exp(logProbs[i]);
    }
    return count;
  }

  #writeQuantised(writer: BitWriter, names: readonly number[], stages: readonly number[]): void {
    const { vocabulary, ordered } = this.config;
    const order = ascending(names);
    const sorted = order.map((i) => names[i]);
    writeSet(writer, sorted, vocabulary);
    const digits = Array.from({ length: ordered }, () => 0);
    const left = order.slice();
    for (let rank = 0; rank < ordered; rank++) {
      digits[rank] = left.indexOf(rank);
      left.splice(digits[rank], 1);
    }
    for (const [from, to, range] of words(names.length, ordered)) {
      let word = 0;
      for (let rank = from; rank < to; rank++) word = word * (names.length - rank) + digits[rank];
      writeBelow(writer, word, range);
    }
    for (const index of stages) writer.write(index, 8);
  }

  #readQuantised(reader: BitReader, out: DecodedLabel): number {
    const { vocabulary, ordered, k, stages } = this.config;
    const names = new Uint32Array(k);
    readSet(reader, names, vocabulary);
    const digits: number[] = [];
    for (const [from, to, range] of words(k, ordered)) {
      let word = readBelow(reader, range);
      for (let rank = to - 1; rank >= from; rank--) {
        digits[rank] = word % (k - rank);
        word = Math.floor(word / (k - rank));
      }
    }
    const left = Array.from(names);
    for (const [rank, digit] of digits.entries()) {
      const [name] = left.splice(digit, 1);
      out.ids[rank] = this.#model.renaming.ids[name];
    }
    for (const [i, name] of left.entries()) out.ids[ordered + i] = this.#model.renaming.ids[name];
    const values = this.#readValues(reader, stages);
    for (let rank = 0; rank < ordered; rank++) out.probabilities[rank] = Math.exp(values[rank]);
    const each = k === ordered ? 0 : Math.exp(values[ordered]) / (k - ordered);
    out.probabilities.fill(each, ordered, k);
    return k;
  }

  #readValues(reader: BitReader, stages: number): Float32Array {
    const { vq, scale } = this.#model;
    if (vq === undefined || scale === undefined) throw new TypeError('no codebooks');
    const values = new Float32Array(vq.width);
    for (let stage = 0; stage < stages; stage++) vq.add(stage, reader.read(8), values);
    return values.map((value, j) => Math.min(value / scale[j], 0));
  }

  async #quantise(rows: ListedRows): Promise<readonly Uint16Array[]> {
    const { vq, scale } = this.#model;
    if (vq === undefined || scale === undefined) throw new TypeError('no codebooks');
    const vectors = valueVectors(rows, this.config);
    for (let i = 0; i < vectors.length; i++) vectors[i] *= scale[i % vq.width];
    return vq.encode(vectors, this.#kernels);
  }

  /** Samples share what is not listed; those of one id are one entry, those of a listed id add to it. */
  #addSamples(drawn: Uint32Array, listed: number, out: DecodedLabel): void {
    const mass = out.probabilities.subarray(0, listed).reduce((sum, p) => sum + p, 0);
    const each = Math.max(1 - mass, 0) / drawn.length;
    let at = listed;
    for (const [i, name] of drawn.entries()) {
      const id = this.#model.renaming.ids[name];
      const own = out.ids.subarray(0, listed).indexOf(id);
      if (own >= 0) {
        out.probabilities[own] += each;
      } else if (i > 0 && drawn[i - 1] === name) {
        out.probabilities[at - 1] += each;
      } else {
        out.ids[at] = id;
        out.probabilities[at] = each;
        at++;
      }
    }
  }
}

/**
 * Vectors [rows, ordered (+ 1)] of log-probabilities of the ordered ids and the logarithm of what the others have together.
 *
 * @throws `INVALID_ARGUMENT` for labels with fewer than k entries.
 */
export function valueVectors(rows: ListedRows, config: TokenCodecConfig): Float32Array {
  const { k, ordered } = config;
  const width = vectorWidth(config);
  const vectors = new Float32Array(rows.rows * width);
  for (let row = 0; row < rows.rows; row++) {
    if (rows.counts[row] < k) {
      throw new SoftpackError('INVALID_ARGUMENT', 'a label lists too few ids', {
        field: `label ${row}`,
        expected: `at least ${k}, or a codec of fewer ids`,
        found: rows.counts[row],
      });
    }
    const own = rows.logProbs.subarray(row * k, (row + 1) * k);
    for (let rank = 0; rank < ordered; rank++) {
      vectors[row * width + rank] = Math.max(own[rank], LEAST_LOG);
    }
    if (width === ordered) continue;
    const rest = own.subarray(ordered).reduce((sum, v) => sum + Math.exp(v), 0);
    vectors[row * width + ordered] = Math.max(Math.log(rest), LEAST_LOG);
  }
  return vectors;
}

export function vectorWidth({ k, ordered }: TokenCodecConfig): number {
  return ordered + (k > ordered ? 1 : 0);
}

/** Decoded mass never exceeds 1: where quantisation adds up to more it is scaled down. */
function boundMass(probabilities: Float32Array, count: number): void {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += probabilities[i];
  if (sum <= 1) return;
  for (let i = 0; i < count; i++) probabilities[i] /= sum * (1 + ROUNDING);
}

/** Ranks [from, to) whose order is one word, and how many values it has. */
function words(k: number, ordered: number): readonly (readonly [number, number, number])[] {
  const found: [number, number, number][] = [];
  let [from, range] = [0, 1];
  for (let rank = 0; rank < ordered; rank++) {
    if (range * (k - rank) > MAX_WORD) {
      found.push([from, rank, range]);
      [from, range] = [rank, 1];
    }
    range *= k - rank;
  }
  return [...found, [from, ordered, range]];
}

function ascending(names: readonly number[]): number[] {
  return names.map((_, i) => i).sort((a, b) => names[a] - names[b]);
}

function invalidLabel(expected: string, found: unknown): SoftpackError {
  const details = { field: 'codes', expected, found };
  return new SoftpackError('INVALID_ARGUMENT', 'codes do not fit the codec', details);
}

function readModel(tensors: ReadonlyMap<string, Tensor>, config: TokenCodecConfig): TokenModel {
  const data = requireTensor(tensors, 'ids', 'U32', [config.vocabulary]);
  const ids = new Uint32Array(data.slice().buffer);
  if (!isPermutation(ids)) throw invalidTensor('ids', 'not a renaming', 'each id once', 'others');
  const renaming = new Renaming(ids);
  if (config.values !== 'vq') return { renaming };
  const width = vectorWidth(config);
  const codebooks = readFloat32(tensors, 'codebooks', [config.stages, STAGE_CODES, width]);
  const scale = readFloat32(tensors, 'scale', [width]);
  const wrong = scale.findIndex((value) => !(value > 0));
  if (wrong >= 0) throw invalidTensor('scale', 'not a scale', 'above 0', scale[wrong]);
  return { renaming, vq: new ResidualVq(width, codebooks), scale };
}
