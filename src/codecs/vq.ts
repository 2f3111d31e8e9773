import type { FieldChecker } from '../core/check.js';
import type { CodecParts } from '../core/codec-parts.js';
import type { RandomSequence } from '../core/random.js';
import type { Kernels, ThreadOptions } from '../kernels/types.js';
import { softmaxRows } from '../labels/temperature.js';
import type { LabelContext } from './codec.js';
import { argumentChecker, type ClampedConfig, checkClamped, configOf } from './config.js';
import type { CodecDescriptor, RatioChoice } from './descriptor.js';
import { clampHead, invalidCodes, LabelwiseCodec } from './labelwise.js';
import { kmeans } from './math/kmeans.js';
import { largestFitting } from './size-search.js';
import { codecShape, float32Tensor, readFloat32 } from './tensors.js';
import { trainingRandom } from './training.js';
import { codebookFor, fewestSegments, vqaeForRatio } from './vqae/plan.js';

/** The paper's codec without its autoencoder ("Ours w/o AE" of table 3). */
export interface VqConfig extends ClampedConfig {
  /** Classes per segment; the last segment is zero-padded. */
  readonly dc: number;
  /** Codewords in the shared codebook: a power of two, 2 to 65536. */
  readonly k: number;
}

function vqSegments({ classes, dc }: Pick<VqConfig, 'classes' | 'dc'>): number {
  return Math.ceil(classes / dc);
}

function checkVqConfig(config: VqConfig, check: FieldChecker = argumentChecker('vq')): VqConfig {
  const { classes, tau, dc, k, eps } = config;
  checkClamped(config, check);
  check.count(dc, 'dc', 1, classes);
  check.powerOfTwo(k, 'k', 2, 65536);
  return { classes, tau, dc, k, eps };
}

/** Labels cut into segments of neighbouring classes, each replaced by the nearest codeword. */
class VqCodec extends LabelwiseCodec {
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
    const config = configOf(parts, checkVqConfig);
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

/** Segment vectors per codeword that k-means sees. */
const VECTORS_PER_CODE = 128;

/** A codebook for the segments of `labels` [count, classes]. */
async function learnSegmentCodebook(
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

/** [count * segments, dc]; a view of the labels if no padding is needed. */
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

export interface VqSized {
  readonly name: 'vq';
  readonly dc: number;
  readonly k: number;
}

export const VQ: CodecDescriptor<
  VqSized,
  Readonly<{ name: 'vq' } & (RatioChoice | { dc: number; k: number })>
> = {
  name: 'vq',
  parameters: [
    { name: 'dc', words: 'segment length', kind: 'size' },
    { name: 'k', words: 'codewords, a power of two', kind: 'size' },
  ],
  docs: {
    label: 'indices of codewords for segments of the label itself',
    bits: 'ceil(C / dc) log2 k',
    besides: 'codebook: 4 k dc',
    numpy: `q = fields(row, n, *[int(np.log2(c['k']))] * -(-C // c['dc']))
return clamp(t['codebook'][q].reshape(n, -1)[:, :C], c['eps'])`,
  },
  sized(choice, { classes, labels }) {
    if (!('ratio' in choice)) return choice;
    const { dh, dc, k } = vqaeForRatio(classes, choice.ratio, labels);
    return { name: 'vq', dc: Math.ceil(classes / (dh / dc)), k };
  },
  check({ dc, k }, { classes, tau, eps }, checker) {
    checkVqConfig({ classes, tau, eps, dc, k }, checker);
  },
  forBytes(request) {
    const { labels, budget } = request;
    const { classes } = labels;
    const k = codebookFor(labels, budget);
    const choice = (segments: number) =>
      ({ name: 'vq', dc: Math.ceil(classes / segments), k }) as const;
    return largestFitting(request, classes, choice, fewestSegments(labels, classes, k));
  },
  shape({ dc, k }, { classes }) {
    const tensors = [{ name: 'codebook', dtype: 'F32', shape: [k, dc] }] as const;
    return codecShape('vq', vqSegments({ classes, dc }) * Math.log2(k), tensors);
  },
  async train({ dc, k }, context) {
    const { classes, tau, eps, draw, kernels } = context;
    const config = checkVqConfig({ classes, tau, dc, k, eps });
    const random = trainingRandom(context);
    const codebook = await learnSegmentCodebook(await draw(), config, kernels, random);
    return { codec: new VqCodec(config, codebook, kernels) };
  },
  load: (parts, kernels) => VqCodec.fromParts(parts, kernels),
};
