import type { CodecParts, Tensor } from '../../core/codec-parts.js';
import { SoftpackError } from '../../errors.js';
import type { Decoder, Encoder, Kernels, ThreadOptions } from '../../kernels/types.js';
import { softmaxRows } from '../../labels/temperature.js';
import {
  type DecodeLabelsArgs,
  type DecodeLabelsKlArgs,
  type DecodeOptions,
  decodingTau,
  type LabelContext,
  type Lender,
  type LossCodec,
} from '../codec.js';
import { configOf } from '../config.js';
import { FixedCodec } from '../fixed.js';
import { float32Tensor, readFloat32 } from '../tensors.js';
import { bitsOf, checkVqaeConfig, segmentsOf, type VqaeConfig } from './config.js';

export interface VqaeWeights {
  /** P, [c, dh]; only needed to encode, so absent from archives. */
  readonly projection?: Float32Array;
  /** D, [dh, c]. */
  readonly decoder: Float32Array;
  /** mu, [k, dc]. */
  readonly codebook: Float32Array;
  /** [c]: the mean label, which the codes leave out. */
  readonly bias: Float32Array;
}

/** Labels softened at a time while encoding; a multiple of 8, so that chunks end on whole bytes. */
const ENCODE_CHUNK = 4096;

/** The paper's codec: h = y P, nearest codeword per segment, y^ = bias + mu[q] D, clamped and renormalised. */
export class VqaeCodec extends FixedCodec implements LossCodec {
  readonly name = 'vqae';
  readonly config: VqaeConfig;
  readonly weights: VqaeWeights;
  readonly decoding =
    'a label is m = dh / dc indices of log2 k bits; h = concatenation of codebook[q_1], ..., codebook[q_m]; ' +
    'v = bias + h @ decoder; y = max(v, eps) / sum(max(v, eps))';
  readonly #kernels: Kernels;
  readonly #options: DecodeOptions;
  #decoder: Decoder | undefined;
  #encoder: Encoder | undefined;

  constructor(
    config: VqaeConfig,
    weights: VqaeWeights,
    kernels: Kernels,
    options: DecodeOptions = {},
  ) {
    const valid = checkVqaeConfig(config);
    super(segmentsOf(valid) * bitsOf(valid));
    this.config = valid;
    this.weights = weights;
    this.#kernels = kernels;
    this.#options = options;
  }

  static fromParts(parts: CodecParts, kernels: Kernels, options: DecodeOptions = {}): VqaeCodec {
    const config = configOf(parts, checkVqaeConfig);
    const { classes, dh, dc, k } = config;
    const weights = {
      projection: readFloat32(parts.tensors, 'projection', [classes, dh], { optional: true }),
      decoder: readFloat32(parts.tensors, 'decoder', [dh, classes]),
      codebook: readFloat32(parts.tensors, 'codebook', [k, dc]),
      bias: readFloat32(parts.tensors, 'bias', [classes]),
    };
    return new VqaeCodec(config, weights, kernels, options);
  }

  async encode(
    logits: Float32Array,
    _context: LabelContext,
    { threads = 0 }: ThreadOptions = {},
  ): Promise<Uint8Array> {
    const { classes, tau } = this.config;
    const encoder = this.#encoderOnce();
    const count = logits.length / classes;
    const bits = this.bitsPerLabel;
    const codes = new Uint8Array(Math.ceil((count * bits) / 8));
    const labels = new Float32Array(Math.min(count, ENCODE_CHUNK) * classes);
    for (let start = 0; start < count; start += ENCODE_CHUNK) {
      const rows = Math.min(ENCODE_CHUNK, count - start);
      const chunk = labels.subarray(0, rows * classes);
      const from = logits.subarray(start * classes, (start + rows) * classes);
      softmaxRows(from, rows, classes, tau, chunk);
      const at = (start * bits) / 8;
      const out = codes.subarray(at, at + Math.ceil((rows * bits) / 8));
      await encoder.encodeAsync({ labels: chunk, out, threads });
    }
    return codes;
  }

  decode({ row, labels, out, threads, ...given }: DecodeLabelsArgs): void {
    decodingTau(this, given);
    this.#decoderOnce().decode({ codes: row, labels, out, threads });
  }

  async decodeAsync({ row, labels, out, threads, ...given }: DecodeLabelsArgs): Promise<void> {
    decodingTau(this, given);
    await this.#decoderOnce().decodeAsync({ codes: row, labels, out, threads });
  }

  decodeKl({
    row,
    labels,
    logits,
    tau,
    losses,
    gradient,
    scale,
    threads,
  }: DecodeLabelsKlArgs): void {
    const student = { logits, tau, losses, gradient, scale };
    this.#decoderOnce().decodeKl({ codes: row, labels, ...student, threads });
  }

  /** @internal */
  lender(): Lender | undefined {
    const decoder = this.#decoderOnce();
    const lend = decoder.lend?.bind(decoder);
    return lend && (({ row, ...args }, run) => lend({ codes: row, ...args }, run));
  }

  /** P is kept only when asked for: decoding needs mu, D and the bias alone (paper, section 3.3). */
  parts({ encoder = false }: { readonly encoder?: boolean } = {}): CodecParts {
    const { classes, dh, dc, k } = this.config;
    const { projection, decoder, codebook, bias } = this.weights;
    const tensors = new Map<string, Tensor>([
      ['decoder', float32Tensor(decoder, [dh, classes])],
      ['codebook', float32Tensor(codebook, [k, dc])],
      ['bias', float32Tensor(bias, [classes])],
    ]);
    if (encoder && projection !== undefined) {
      tensors.set('projection', float32Tensor(projection, [classes, dh]));
    }
    return { name: this.name, config: { ...this.config }, tensors, sampleTensors: new Map() };
  }

  override dispose(): void {
    this.#decoder?.dispose();
    this.#decoder = undefined;
    this.#encoder?.dispose();
    this.#encoder = undefined;
  }

  #encoderOnce(): Encoder {
    const { classes, dh, dc } = this.config;
    const { projection, codebook } = this.weights;
    if (projection === undefined) {
      throw new SoftpackError('UNSUPPORTED', 'this codec was kept without its encoder', {
        field: 'projection',
      });
    }
    const bits = bitsOf(this.config);
    const spec = { classes, projection, latent: dh, codebook, width: dc, bits };
    this.#encoder ??= this.#kernels.createEncoder(spec);
    return this.#encoder;
  }

  #decoderOnce(): Decoder {
    const { classes, dh, dc, k, eps } = this.config;
    this.#decoder ??= this.#kernels.createDecoder({
      classes,
      latent: dh,
      stages: segmentsOf(this.config),
      levels: k,
      width: dc,
      codebookStride: 0,
      latentStep: dc,
      bits: bitsOf(this.config),
      codebooks: this.weights.codebook,
      basis: this.weights.decoder,
      bias: this.weights.bias,
      head: { kind: 'clamp', eps },
      precision: this.#options.precision,
      memoryCap: this.#options.memoryCap,
    });
    return this.#decoder;
  }
}
