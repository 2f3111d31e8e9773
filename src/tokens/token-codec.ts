import { argumentChecker, configOf } from '../codecs/config.js';
import {
  float16Tensor,
  float32Tensor,
  invalidTensor,
  readFloat16,
  readFloat32,
  requireTensor,
} from '../codecs/tensors.js';
import { allocate } from '../core/allocate.js';
import type { CodecParts, Tensor } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';
import {
  type DecodeTokensArgs,
  type EncodedTokens,
  STAGE_CODES,
  type TokenLabelModel,
  valueWidth,
} from '../kernels/tokens.js';
import type { Kernels } from '../kernels/types.js';
import { checkTokenConfig, type TokenCodecConfig } from './config.js';
import type { ListedRows } from './listed-rows.js';
import { idsTensor, type Renaming, readIds } from './renaming.js';
import { ResidualVq } from './residual-vq.js';
import type { TextFormat } from './sequence-text.js';
import type { TokenTail } from './targets.js';
import { areTextLengths, type LabelIds, TextCode, textSymbols } from './text-code.js';
import { byProbability, textRanks } from './text-ranks.js';

export const TOKEN_CODEC = 'tokens';

export const TOKEN_DECODING =
  'labels as docs/tokens.md has them: the set of ids, renamed by `ids`, in the binary interpolative code; float16 ' +
  'log-probabilities in the order of the set, or the order of the first ids and indices of `codebooks`; then the ' +
  'multiset of samples, counted if `draws` says so';

/** Values of a label with `vq` are kept above this: e^-20 of the mass. */
const LEAST_LOG = -20;

/** Labels as they are decoded: entries [labels, width], probability 0 behind the last one of each. */
export interface DecodedLabels {
  readonly ids: Int32Array;
  readonly probabilities: Float32Array;
}

/** Where labels are in a block. */
export type LabelPlace = Pick<DecodeTokensArgs, 'position' | 'begins' | 'skip'>;

/** What a codec has learnt. */
export interface TokenModel {
  readonly renaming: Renaming;
  /** Present with `vq`: of vectors [log-probabilities of the ordered ids, log of the mass of the others] * scale. */
  readonly vq?: ResidualVq;
  /** [width of a vector]. */
  readonly scale?: Float32Array;
  /** Of ids of texts; absent in archives that have them as they are. */
  readonly text?: TextCode;
  /** Present with tail `prior`: [vocabulary], logarithms that float16 holds. */
  readonly prior?: Float32Array;
}

/** Labels of tokens as bits. The bits never depend on floating point but for the choice of codewords. */
export class TokenCodec {
  readonly config: TokenCodecConfig;
  readonly #model: TokenModel;
  readonly #labels: TokenLabelModel;
  readonly #kernels: Kernels;
  /** [vocabulary]; empty without tail `prior`. */
  readonly #prior: Float32Array;

  constructor(config: TokenCodecConfig, model: TokenModel, kernels: Kernels) {
    this.config = checkTokenConfig(config, argumentChecker(TOKEN_CODEC));
    this.#model = model;
    this.#labels = labelModel(config, model);
    this.#prior = (model.prior ?? new Float32Array()).map((log) => Math.exp(log));
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

  /** What labels say of the ids that they do not list. */
  get tail(): TokenTail {
    const { tail } = this.config;
    return tail === 'prior' ? { kind: tail, prior: this.#prior } : { kind: tail };
  }

  /** How ids of texts are stored. */
  get textFormat(): TextFormat {
    const { text: code } = this.#model;
    const { vocabulary } = this.config;
    return code === undefined ? { vocabulary } : { vocabulary, code };
  }

  parts(): CodecParts {
    const { renaming, vq, scale, prior, text } = this.#model;
    const tensors = new Map<string, Tensor>([
      ['ids', idsTensor(renaming, hasShortIds(this.config))],
    ]);
    if (text !== undefined) {
      const { lengths } = text;
      tensors.set('text', { dtype: 'U8', shape: [2, lengths.length / 2], data: lengths });
    }
    if (vq !== undefined && scale !== undefined) {
      const shape = [vq.stages, STAGE_CODES, vq.width];
      tensors.set('codebooks', float32Tensor(vq.codebooks, shape));
      tensors.set('scale', float32Tensor(scale, [vq.width]));
    }
    if (prior !== undefined) tensors.set('prior', float16Tensor(prior, [prior.length]));
    return { name: TOKEN_CODEC, config: { ...this.config }, tensors, sampleTensors: new Map() };
  }

  /** Labels one after the other. */
  async encode(rows: ListedRows): Promise<EncodedTokens> {
    const { counts, ids, samples: drawn } = rows;
    const labels = { model: this.#labels, counts, ids, drawn, position: 0 };
    if (this.config.values === 'float16') {
      return this.#kernels.encodeTokens({ ...labels, logProbs: rows.logProbs });
    }
    return this.#kernels.encodeTokens({ ...labels, indices: await this.#quantise(rows) });
  }

  /** Fills `out` with the labels of a place in `bytes`. */
  decode(bytes: Uint8Array, place: LabelPlace, out: DecodedLabels): void {
    const { ids: labels, probabilities } = out;
    this.#kernels.decodeTokens({ model: this.#labels, bytes, ...place, labels, probabilities });
  }

  /** Labels of a place, `count` of them. */
  labelsAt(bytes: Uint8Array, place: LabelPlace, count: number): DecodedLabels {
    const { width } = this;
    const ids = new Int32Array(allocate(4 * count * width, 'labels'));
    const probabilities = new Float32Array(allocate(4 * count * width, 'labels'));
    this.decode(bytes, place, { ids, probabilities });
    return { ids, probabilities };
  }

  /** Ids that labels of a place list, the first of which is that of position `first`. */
  labelIds(bytes: Uint8Array, place: LabelPlace, count: number, first: number): LabelIds {
    return this.textIds(this.labelsAt(bytes, place, count), first);
  }

  /** Ids of labels in the order in which texts are told by them, the first of which is that of position `first`. */
  textIds({ ids: stored, probabilities }: DecodedLabels, first: number): LabelIds {
    const { width } = this;
    const ids = this.config.k > 0 ? stored : byProbability(stored, probabilities, width);
    return { first, rows: stored.length / width, width, ids };
  }

  async #quantise(rows: ListedRows): Promise<Uint16Array> {
    const { vq, scale } = this.#model;
    if (vq === undefined || scale === undefined) throw new TypeError('no codebooks');
    const vectors = valueVectors(rows, this.config);
    for (let i = 0; i < vectors.length; i++) vectors[i] *= scale[i % vq.width];
    return vq.encode(vectors, this.#kernels);
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
  return valueWidth(k, ordered);
}

function labelModel({ k, samples, draws, ordered, stages }: TokenCodecConfig, model: TokenModel) {
  const { renaming, vq, scale } = model;
  const counted = draws === 'counted';
  const common = { k, samples, counted, ids: renaming.ids, names: renaming.names };
  if (vq === undefined || scale === undefined) return common;
  return { ...common, values: { ordered, stages, codebooks: vq.codebooks, scale } };
}

function readModel(tensors: ReadonlyMap<string, Tensor>, config: TokenCodecConfig): TokenModel {
  const renaming = readIds(tensors, config.vocabulary, hasShortIds(config));
  const text = config.text === undefined ? {} : { text: readTextCode(tensors, config, renaming) };
  const prior = config.tail === 'prior' ? { prior: readPrior(tensors, config.vocabulary) } : {};
  if (config.values !== 'vq') return { renaming, ...text, ...prior };
  const width = vectorWidth(config);
  const codebooks = readFloat32(tensors, 'codebooks', [config.stages, STAGE_CODES, width]);
  const scale = readFloat32(tensors, 'scale', [width]);
  const wrong = scale.findIndex((value) => !(value > 0));
  if (wrong >= 0) throw invalidTensor('scale', 'not a scale', 'above 0', scale[wrong]);
  return { renaming, vq: new ResidualVq(width, codebooks), scale, ...text, ...prior };
}

/** Archives with texts as they are have ids of 32 bits, whatever the vocabulary. */
function hasShortIds({ vocabulary, text }: TokenCodecConfig): boolean {
  return text !== undefined && vocabulary <= 2 ** 16;
}

function readTextCode(
  tensors: ReadonlyMap<string, Tensor>,
  config: TokenCodecConfig,
  renaming: Renaming,
): TextCode {
  const ranks = textRanks(config);
  const shape = [2, textSymbols(config.vocabulary, ranks)];
  const lengths = requireTensor(tensors, 'text', 'U8', shape).slice();
  if (areTextLengths(lengths, ranks)) return new TextCode(renaming, ranks, lengths);
  throw invalidTensor('text', 'not a code', 'lengths of a prefix code', 'others');
}

/** Logarithms below this are no probabilities of float32. */
const LEAST_PRIOR = -80;

function readPrior(tensors: ReadonlyMap<string, Tensor>, vocabulary: number): Float32Array {
  const prior = readFloat16(tensors, 'prior', [vocabulary]);
  const wrong = prior.find((log) => !(log <= 0 && log >= LEAST_PRIOR));
  if (wrong === undefined) return prior;
  throw invalidTensor('prior', 'not a prior', `logarithms from ${LEAST_PRIOR} to 0`, wrong);
}
