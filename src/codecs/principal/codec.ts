import type { FieldChecker } from '../../core/check.js';
import type { CodecParts, Tensor } from '../../core/codec-parts.js';
import { float16ToFloat32, float32ToFloat16 } from '../../core/half.js';
import { sampleIds } from '../../core/samples.js';
import type { Kernels, ThreadOptions } from '../../kernels/types.js';
import { softmaxRows } from '../../labels/temperature.js';
import { type DecodeLabelsArgs, decodingTau, type LabelContext } from '../codec.js';
import { argumentChecker, type ClampedConfig, checkClamped, configOf } from '../config.js';
import { FixedCodec } from '../fixed.js';
import { atLabel, clampHead, requireLabels, requireOut, writeLabel } from '../labelwise.js';
import {
  float16Tensor,
  float32Tensor,
  readFloat16,
  readFloat32,
  throughFloat16,
} from '../tensors.js';

export type PrincipalName = 'pca' | 'rpca';

export interface PrincipalConfig extends ClampedConfig {
  /** Components kept. */
  readonly k: number;
  /** Value of a coefficient of 1: coefficients and components are stored near 1, where float16 is finest. */
  readonly scale: number;
  /** If above 0, coefficients are fitted with deviations of single classes limited to it (robust PCA). */
  readonly threshold: number;
}

function checkPrincipalConfig(config: PrincipalConfig, check: FieldChecker): PrincipalConfig {
  const { classes, tau, k, scale, threshold, eps } = config;
  checkClamped(config, check);
  check.count(k, 'k', 1, classes);
  check.positive(scale, 'scale');
  const valid = typeof threshold === 'number' && threshold >= 0 && Number.isFinite(threshold);
  check.that(valid, threshold, 'threshold', 'a number of at least 0');
  return { classes, tau, k, scale, threshold, eps };
}

export interface PrincipalWeights {
  /** [k, classes]: directions times sqrt(classes). */
  readonly components: Float32Array;
  /** [classes]: the mean label. */
  readonly bias: Float32Array;
}

/** Labels decoded per matrix product, which stays in cache. */
const DECODE_CHUNK = 256;
/** Rounds of dropping outliers and fitting again; the fit changes by less than float16 after a few. */
const ROBUST_ROUNDS = 10;

/** Labels as k coefficients of fixed directions: PCA's, or those of the low-rank part that robust PCA finds. */
export class PrincipalCodec extends FixedCodec {
  readonly name: PrincipalName;
  readonly config: PrincipalConfig;
  readonly weights: PrincipalWeights;
  readonly decoding =
    'a label is k float16 coefficients a; v = bias + scale * (a @ components); ' +
    'y = max(v, eps) / sum(max(v, eps))';
  readonly #kernels: Kernels;

  constructor(
    name: PrincipalName,
    config: PrincipalConfig,
    weights: PrincipalWeights,
    kernels: Kernels,
  ) {
    super(16 * config.k);
    this.name = name;
    this.config = checkPrincipalConfig(config, argumentChecker(name));
    // Components are kept in float16: the encoder fits the components that the decoder will have.
    this.weights = {
      components: throughFloat16('components', weights.components),
      bias: weights.bias,
    };
    this.#kernels = kernels;
  }

  static fromParts(parts: CodecParts, kernels: Kernels): PrincipalCodec {
    const name = parts.name as PrincipalName;
    const config = configOf(parts, checkPrincipalConfig);
    const components = readFloat16(parts.tensors, 'components', [config.k, config.classes]);
    const bias = readFloat32(parts.tensors, 'bias', [config.classes]);
    return new PrincipalCodec(name, config, { components, bias }, kernels);
  }

  async encode(
    logits: Float32Array,
    _context: LabelContext,
    { threads = 0 }: ThreadOptions = {},
  ): Promise<Uint8Array> {
    const { classes, tau, k } = this.config;
    const rows = logits.length / classes;
    const centred = new Float32Array(logits.length);
    softmaxRows(logits, rows, classes, tau, centred);
    for (let i = 0; i < centred.length; i++) centred[i] -= this.weights.bias[i % classes];
    let coefficients = await this.#coefficients(centred, rows, threads);
    for (let round = 0; this.config.threshold > 0 && round < ROBUST_ROUNDS; round++) {
      const fitted = await this.#withoutOutliers(centred, coefficients, rows, threads);
      coefficients = await this.#coefficients(fitted, rows, threads);
    }
    const halves = new Uint16Array(rows * k);
    float32ToFloat16(coefficients, halves);
    return new Uint8Array(halves.buffer);
  }

  decode(args: DecodeLabelsArgs): void {
    for (const chunk of this.#chunks(args)) {
      this.#kernels.project(chunk.product);
      chunk.finish();
    }
  }

  async decodeAsync(args: DecodeLabelsArgs): Promise<void> {
    for (const chunk of this.#chunks(args)) {
      await this.#kernels.projectAsync(chunk.product);
      chunk.finish();
    }
  }

  parts(): CodecParts {
    const { k, classes } = this.config;
    const tensors = new Map<string, Tensor>([
      ['components', float16Tensor(this.weights.components, [k, classes])],
      ['bias', float32Tensor(this.weights.bias, [classes])],
    ]);
    return { name: this.name, config: { ...this.config }, tensors, sampleTensors: new Map() };
  }

  /** The matrix product of each chunk of labels, and what is left to do after it. */
  *#chunks({ row, labels, context, out, threads, ...given }: DecodeLabelsArgs) {
    decodingTau(this, given);
    const { classes, k, scale, eps } = this.config;
    const positions = sampleIds(labels);
    const samples = sampleIds(context.samples);
    requireOut(out, positions.length, classes);
    requireLabels(row, positions, this.bitsPerLabel);
    for (let start = 0; start < positions.length; start += DECODE_CHUNK) {
      const rows = Math.min(DECODE_CHUNK, positions.length - start);
      const halves = new Uint16Array(rows * k);
      const bytes = new Uint8Array(halves.buffer);
      for (let i = 0; i < rows; i++) {
        const at = 2 * k * positions[start + i];
        bytes.set(row.subarray(at, at + 2 * k), 2 * k * i);
      }
      const a = new Float32Array(rows * k);
      float16ToFloat32(halves, a);
      for (let i = 0; i < a.length; i++) a[i] *= scale;
      const values = new Float32Array(rows * classes);
      for (let i = 0; i < rows; i++) values.set(this.weights.bias, i * classes);
      const b = this.weights.components;
      const product = { a, b, out: values, rows, inner: k, columns: classes, accumulate: true };
      const finish = () => {
        for (let i = 0; i < rows; i++) {
          const label = values.subarray(i * classes, (i + 1) * classes);
          atLabel(context.epoch, samples[start + i], () => clampHead(label, eps));
          writeLabel(label, out, start + i);
        }
      };
      yield { product: { ...product, threads }, finish };
    }
  }

  /** Least squares: components are orthogonal, of squared length `classes`. */
  async #coefficients(values: Float32Array, rows: number, threads: number): Promise<Float32Array> {
    const { classes, k, scale } = this.config;
    const out = new Float32Array(rows * k);
    const b = this.weights.components;
    const shape = { rows, inner: classes, columns: k, transposeB: true };
    await this.#kernels.projectAsync({ a: values, b, out, ...shape, threads });
    for (let i = 0; i < out.length; i++) out[i] /= classes * scale;
    return out;
  }

  /** The values less those parts of their deviation from the fit that go beyond the threshold. */
  async #withoutOutliers(
    values: Float32Array,
    coefficients: Float32Array,
    rows: number,
    threads: number,
  ): Promise<Float32Array> {
    const { classes, k, scale, threshold } = this.config;
    const fit = new Float32Array(values.length);
    const a = coefficients.map((value) => value * scale);
    const shape = { rows, inner: k, columns: classes };
    await this.#kernels.projectAsync({
      a,
      b: this.weights.components,
      out: fit,
      ...shape,
      threads,
    });
    for (let i = 0; i < fit.length; i++) {
      const deviation = values[i] - fit[i];
      fit[i] += Math.min(Math.max(deviation, -threshold), threshold);
    }
    return fit;
  }
}

/** A codec from orthonormal directions [k, classes] and the standard deviation along the first. */
export function principalCodec(
  name: PrincipalName,
  { classes, tau, k, eps }: Pick<PrincipalConfig, 'classes' | 'tau' | 'k' | 'eps'>,
  found: {
    readonly components: Float32Array;
    readonly bias: Float32Array;
    readonly deviation: number;
    readonly threshold?: number;
  },
  kernels: Kernels,
): PrincipalCodec {
  const root = Math.sqrt(classes);
  // Labels that are all alike leave nothing to scale by.
  const scale = (found.deviation > 0 ? found.deviation : 1) / root;
  const components = found.components.subarray(0, k * classes).map((value) => value * root);
  const config = { classes, tau, k, scale, threshold: found.threshold ?? 0, eps };
  return new PrincipalCodec(name, config, { components, bias: found.bias }, kernels);
}
