import type { CodecParts } from '../core/codec-parts.js';
import type { RandomSequence } from '../core/random.js';
import type { Kernels, ThreadOptions } from '../kernels/types.js';
import { softmaxRows } from '../labels/temperature.js';
import type { LabelContext } from './codec.js';
import { ConfigCheck, type ConfigErrorCode } from './config-check.js';
import { clampHead, invalidCodes, LabelwiseCodec } from './labelwise.js';
import { kmeans } from './math/kmeans.js';
import { float32Tensor, readFloat32 } from './tensors.js';

/** The paper's codec without its autoencoder ("Ours w/o AE" of table 3). */
export interface VqConfig {
  readonly classes: number;
  readonly tau: number;
  /** Classes to a segment; the last segment is filled up with zeros. */
  readonly dc: number;
  /** Codewords in the shared codebook: a power of two, 2 to 65536. */
  readonly k: number;
  readonly eps: number;
}

export function vqSegments({ classes, dc }: Pick<VqConfig, 'classes' | 'dc'>): number {
  return Math.ceil(classes / dc);
}

export function checkVqConfig(
  config: VqConfig,
  code: ConfigErrorCode = 'INVALID_ARGUMENT',
): VqConfig {
  const { classes, tau, dc, k, eps } = config;
  const check = new ConfigCheck('vq', code);
  check.count(classes, 'classes');
  check.positive(tau, 'tau');
  check.count(dc, 'dc', 1, classes);
  check.powerOfTwo(k, 'k', 2, 65536);
  check.floor(eps, 'eps');
  return { classes, tau, dc, k, eps };
}

/** Labels cut into segments of neighbouring classes, each replaced by the nearest codeword. */
export class VqCodec extends LabelwiseCodec {
  readonly name = 'vq';
  readonly config: VqConfig;
  readonly decoding =
    'a label is m = ceil(classes / dc) indices of log2 k bits; v = the first `classes` values of ' +
    'codebook[q_1], ..., codebook[q_m] joined; y = max(v, eps) / sum(max(v, eps))';
  /** [k, dc]. */
  readonly codebook: Float32Array;
  readonly #kernels: Kernels;
  readonly #bits: number;

  constructor(config: VqConfig, codebook: Float32Array, kernels: Kernels) {
    super(vqSegments(config) * Math.log2(config.k));
    this.config = checkVqConfig(config);
    this.codebook = codebook;
    this.#kernels = kernels;
    this.#bits = Math.log2(config.k);
  }

  static fromParts(parts: CodecParts, kernels: Kernels): VqCodec {
    const config = checkVqConfig(parts.config as unknown as VqConfig, 'INVALID_FILE');
    const codebook = readFloat32(parts.tensors, 'codebook', [config.k, config.dc]);
    return new VqCodec(config, codebook, kernels);
  }

  async encode(
    logits: Float32Array,
    _context: LabelContext,
    { threads = 0 }: ThreadOptions = {},
  ): Promise<Uint8Array> {
    const { classes, tau, dc } = this.config;
    const labels = new Float32Array(logits.length);
    softmaxRows(logits, logits.length / classes, classes, tau, labels);
    const vectors = segmentsOf(labels, classes, dc);
    const indices = new Uint16Array(vectors.length / dc);
    const { codebook } = this;
    await this.#kernels.nearestAsync({ vectors, codebook, out: indices, width: dc, threads });
    const codes = new Uint8Array(Math.ceil((indices.length * this.#bits) / 8));
    this.#kernels.pack({ indices, bits: this.#bits, out: codes });
    return codes;
  }

  protected decodeLabel(row: Uint8Array, position: number, values: Float32Array): void {
    const { classes, dc, k, eps } = this.config;
    const indices = new Uint16Array(vqSegments(this.config));
    this.#kernels.unpack({ packed: row, bits: this.#bits, out: indices, bitOffset: position });
    for (const [segment, index] of indices.entries()) {
      if (index >= k) throw invalidCodes(`an index below ${k}`, index);
      const at = segment * dc;
      const width = Math.min(dc, classes - at);
      values.set(this.codebook.subarray(index * dc, index * dc + width), at);
    }
    clampHead(values, eps);
  }

  parts(): CodecParts {
    const { k, dc } = this.config;
    return {
      name: this.name,
      config: { ...this.config },
      tensors: new Map([['codebook', float32Tensor(this.codebook, [k, dc])]]),
      sampleTensors: new Map(),
    };
  }
}

/** Segment vectors that k-means sees, a codeword. */
const VECTORS_PER_CODE = 128;

/** A codebook for the segments of `labels` [count, classes]. */
export async function learnSegmentCodebook(
  labels: Float32Array,
  { classes, dc, k }: Pick<VqConfig, 'classes' | 'dc' | 'k'>,
  kernels: Kernels,
  random: RandomSequence,
): Promise<Float32Array> {
  const all = segmentsOf(labels, classes, dc);
  const count = all.length / dc;
  const chosen = random.distinct(Math.min(count, VECTORS_PER_CODE * k), count);
  const vectors = new Float32Array(chosen.length * dc);
  for (const [i, from] of chosen.entries()) {
    vectors.set(all.subarray(from * dc, (from + 1) * dc), i * dc);
  }
  return kmeans(vectors, dc, k, kernels, random);
}

/** [count * segments, dc]; a view of the labels where nothing has to be filled up. */
function segmentsOf(labels: Float32Array, classes: number, dc: number): Float32Array {
  if (classes % dc === 0) return labels;
  const width = Math.ceil(classes / dc) * dc;
  const count = labels.length / classes;
  const padded = new Float32Array(count * width);
  for (let i = 0; i < count; i++) {
    padded.set(labels.subarray(i * classes, (i + 1) * classes), i * width);
  }
  return padded;
}
