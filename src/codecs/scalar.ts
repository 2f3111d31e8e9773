import type { CodecParts } from '../core/codec-parts.js';
import type { Kernels } from '../kernels/types.js';
import { softmaxRows } from '../labels/temperature.js';
import { ConfigCheck, type ConfigErrorCode } from './config-check.js';
import { clampHead, LabelwiseCodec } from './labelwise.js';
import { float32Tensor, readFloat32 } from './tensors.js';

export interface ScalarConfig {
  readonly classes: number;
  readonly tau: number;
  /** 2^b levels, 2 to 65536; the paper's baselines have 4 and 8. */
  readonly levels: number;
  /** Floor of the decoded probabilities. */
  readonly eps: number;
}

export function checkScalarConfig(
  config: ScalarConfig,
  code: ConfigErrorCode = 'INVALID_ARGUMENT',
): ScalarConfig {
  const { classes, tau, levels, eps } = config;
  const check = new ConfigCheck('scalar', code);
  check.count(classes, 'classes');
  check.positive(tau, 'tau');
  check.powerOfTwo(levels, 'levels', 2, 65536);
  check.floor(eps, 'eps');
  return { classes, tau, levels, eps };
}

/** Every probability by itself, as the nearest of 2^b levels. */
export class ScalarCodec extends LabelwiseCodec {
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
    const config = checkScalarConfig(parts.config as unknown as ScalarConfig, 'INVALID_FILE');
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

/** Groups of equal count that the first choice of levels is made from; its cost is their square times k. */
const GROUPS = 1024;
const LLOYD_ITERATIONS = 50;

/**
 * `count` levels, ascending, of least mean squared error over `values`: the best division of 1024 groups of
 * neighbouring values, by dynamic programming, then Lloyd's algorithm on all values. Sorts `values`.
 */
export function learnLevels(values: Float32Array, count: number): Float32Array {
  values.sort();
  const n = values.length;
  const sums = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) sums[i + 1] = sums[i] + values[i];
  let edges = divide(values, Math.min(GROUPS, n), Math.min(count, n));
  let levels = new Float32Array(0);
  for (let iteration = 0; iteration < LLOYD_ITERATIONS; iteration++) {
    levels = Float32Array.from({ length: edges.length - 1 }, (_, i) => {
      const members = edges[i + 1] - edges[i];
      return (sums[edges[i + 1]] - sums[edges[i]]) / members;
    });
    const next = [0];
    for (let i = 0; i + 1 < levels.length; i++) {
      const edge = upperBound(values, (levels[i] + levels[i + 1]) / 2);
      if (edge > (next.at(-1) as number)) next.push(edge);
    }
    next.push(n);
    const same = next.length === edges.length && next.every((edge, i) => edge === edges[i]);
    edges = next;
    if (same) break;
  }
  // Fewer distinct values than levels: the last level fills up the table.
  return Float32Array.from({ length: count }, (_, i) => levels[Math.min(i, levels.length - 1)]);
}

/** Edges [0, ..., n] of the `count` runs of sorted values whose squared error, over whole groups, is least. */
function divide(values: Float32Array, groups: number, count: number): number[] {
  const n = values.length;
  const edge = Uint32Array.from({ length: groups + 1 }, (_, g) => Math.floor((g * n) / groups));
  const sum = new Float64Array(groups + 1);
  const square = new Float64Array(groups + 1);
  for (let g = 0; g < groups; g++) {
    let [s, q] = [0, 0];
    for (let i = edge[g]; i < edge[g + 1]; i++) {
      s += values[i];
      q += values[i] ** 2;
    }
    sum[g + 1] = sum[g] + s;
    square[g + 1] = square[g] + q;
  }
  const error = (a: number, b: number) => {
    const s = sum[b] - sum[a];
    return Math.max(0, square[b] - square[a] - (s * s) / (edge[b] - edge[a]));
  };
  const runs = Math.min(count, groups);
  let best = Float64Array.from({ length: groups + 1 }, (_, b) => (b === 0 ? 0 : error(0, b)));
  const from = Array.from({ length: runs }, () => new Uint32Array(groups + 1));
  for (let r = 1; r < runs; r++) {
    const next = new Float64Array(groups + 1).fill(Number.POSITIVE_INFINITY);
    for (let b = r + 1; b <= groups; b++) {
      for (let a = r; a < b; a++) {
        const total = best[a] + error(a, b);
        if (total >= next[b]) continue;
        next[b] = total;
        from[r][b] = a;
      }
    }
    best = next;
  }
  const edges = [n];
  for (let r = runs - 1, b = groups; r >= 0; r--) {
    b = from[r][b];
    edges.unshift(edge[b]);
  }
  return edges;
}

/** How many of the sorted values are at most `limit`. */
function upperBound(values: Float32Array, limit: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
