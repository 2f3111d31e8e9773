import type { FieldChecker } from '../core/check.js';
import type { CodecParts } from '../core/codec-parts.js';
import type { Kernels } from '../kernels/types.js';
import { softmaxRows } from '../labels/temperature.js';
import { argumentChecker, type ClampedConfig, checkClamped, configOf } from './config.js';
import type { CodecDescriptor, RatioChoice } from './descriptor.js';
import { clampHead, LabelwiseCodec } from './labelwise.js';
import { learnLevels } from './math/levels.js';
import { largestFitting, unitsForRatio } from './size-search.js';
import { codecShape, float32Tensor, readFloat32 } from './tensors.js';
import { thinned } from './training.js';

export interface ScalarConfig extends ClampedConfig {
  /** 2^b levels, 2 to 65536; the paper's baselines have 4 and 8. */
  readonly levels: number;
}

function checkScalarConfig(
  config: ScalarConfig,
  check: FieldChecker = argumentChecker('scalar'),
): ScalarConfig {
  const { classes, tau, levels, eps } = config;
  checkClamped(config, check);
  check.powerOfTwo(levels, 'levels', 2, 65536);
  return { classes, tau, levels, eps };
}

/** Every probability by itself, as the nearest of 2^b levels. */
class ScalarCodec extends LabelwiseCodec {
  readonly name = 'scalar';
  readonly config: ScalarConfig;
  readonly decoding =
    'a label is one index of log2(levels) bits a class; v_j = levels[index_j]; y = max(v, eps) / sum(max(v, eps))';
  /** Ascending. */
  readonly levels: Float32Array;
  readonly #kernels: Kernels;
  readonly #bits: number;

  constructor(config: ScalarConfig, levels: Float32Array, kernels: Kernels) {
    super(config.classes * Math.log2(config.levels));
    this.config = checkScalarConfig(config);
    this.levels = levels;
    this.#kernels = kernels;
    this.#bits = Math.log2(config.levels);
  }

  static fromParts(parts: CodecParts, kernels: Kernels): ScalarCodec {
    const config = configOf(parts, checkScalarConfig);
    return new ScalarCodec(config, readFloat32(parts.tensors, 'levels', [config.levels]), kernels);
  }

  async encode(logits: Float32Array): Promise<Uint8Array> {
    const { classes, tau } = this.config;
    const labels = new Float32Array(logits.length);
    softmaxRows(logits, logits.length / classes, classes, tau, labels);
    const indices = new Uint16Array(labels.length);
    for (const [i, value] of labels.entries()) indices[i] = nearestLevel(this.levels, value);
    const codes = new Uint8Array(Math.ceil((labels.length * this.#bits) / 8));
    this.#kernels.pack({ indices, bits: this.#bits, out: codes });
    return codes;
  }

  protected decodeLabel(row: Uint8Array, position: number, values: Float32Array): void {
    const indices = new Uint16Array(this.classes);
    this.#kernels.unpack({ packed: row, bits: this.#bits, out: indices, bitOffset: position });
    for (const [j, index] of indices.entries()) values[j] = this.levels[index];
    clampHead(values, this.config.eps);
  }

  parts(): CodecParts {
    return {
      name: this.name,
      config: { ...this.config },
      tensors: new Map([['levels', float32Tensor(this.levels, [this.config.levels])]]),
      sampleTensors: new Map(),
    };
  }
}

/** Index of the nearest of ascending levels; the lower of two that are as near. */
function nearestLevel(levels: Float32Array, value: number): number {
  let low = 0;
  let high = levels.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value <= (levels[middle] + levels[middle + 1]) / 2) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Values that the levels are learnt from. */
const LEVEL_VALUES = 2 ** 20;
const MOST_BITS = 16;

export interface ScalarSized {
  readonly name: 'scalar';
  readonly levels: number;
}

export const SCALAR: CodecDescriptor<
  ScalarSized,
  Readonly<{ name: 'scalar' } & (RatioChoice | { levels: number })>
> = {
  name: 'scalar',
  parameters: [{ name: 'levels', words: 'levels, a power of two', kind: 'size' }],
  docs: {
    label: 'one of 2^b learnt levels per class',
    bits: 'C log2 levels',
    besides: '4 levels',
    numpy: "return clamp(t['levels'][fields(row, n, *[int(np.log2(c['levels']))] * C)], c['eps'])",
  },
  sized(choice, { classes }) {
    if (!('ratio' in choice)) return { name: 'scalar', levels: choice.levels };
    const { ratio } = choice;
    const bits = unitsForRatio('scalar', { classes, ratio }, classes, MOST_BITS);
    return { name: 'scalar', levels: 2 ** bits };
  },
  check({ levels }, { classes, tau, eps }, checker) {
    checkScalarConfig({ classes, tau, eps, levels }, checker);
  },
  forBytes(request) {
    return largestFitting(request, MOST_BITS, (bits) => ({ name: 'scalar', levels: 2 ** bits }));
  },
  shape({ levels }, { classes }) {
    const tensors = [{ name: 'levels', dtype: 'F32', shape: [levels] }] as const;
    return codecShape('scalar', classes * Math.log2(levels), tensors);
  },
  async train({ levels }, { classes, tau, eps, draw, kernels }) {
    const values = thinned(await draw(), LEVEL_VALUES);
    const config = { classes, tau, levels, eps };
    return { codec: new ScalarCodec(config, learnLevels(values, levels), kernels) };
  },
  load: (parts, kernels) => ScalarCodec.fromParts(parts, kernels),
  /** S17: log2 k bits per class, k float16 levels. */
  paperBytes: ({ levels }, { classes, labels }) =>
    (labels * classes * Math.log2(levels)) / 8 + 2 * levels,
};
