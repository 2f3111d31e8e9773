import { joinBlocks, splitBlocks } from '../../core/blocks.js';
import type { CodecParts, CodeLayout } from '../../core/codec-parts.js';
import { sampleIds } from '../../core/samples.js';
import type { Kernels, ThreadOptions } from '../../kernels/types.js';
import {
  type Codec,
  type DecodeLabelsArgs,
  type DecodeOptions,
  decodingTau,
  type LabelContext,
} from '../codec.js';
import { argumentChecker, configOf } from '../config.js';
import { invalidCodes, requireOut } from '../labelwise.js';
import { addPredictions, type Mixes, mixesOf } from './base-vectors.js';
import { checkTransformConfig, type TransformConfig } from './config.js';
import { LatentDecoder } from './latent-decoder.js';
import { readTransformModel, type TransformModel } from './model.js';
import { centreLogits, dualOf } from './project.js';
import { type Costs, costsOf, roundToUnits, transposed, unitOf } from './quantiser.js';

export const DECODING =
  'a block is the number of its labels (u16, little-endian) and an rANS stream of indices [components, labels] with the ' +
  'tables of `tables`; latent = their values in steps, or with a trellis (states > 1) half steps, moved towards zero by ' +
  '(shifts - 128) / 128, + lambda * base vector of the sample + (1 - lambda) * that of the sample mixed in; ' +
  'y = softmax((mean + latent @ components) / tau); docs/codecs.md of softpack has every byte';

/** Labels decoded per matrix product. */
const DECODE_CHUNK = 1024;
/** Bytes of a block before its stream. */
const BLOCK_HEAD = 2;
/** Bytes of decoded blocks that are kept: labels of a batch come from many blocks of an epoch. */
const KEPT_BYTES = 128 * 2 ** 20;

/** What only the encoder needs, made from the model when it is first used. */
interface EncoderState {
  /** [components, classes]. */
  readonly dual: Float32Array;
  /** For the search of a trellis. */
  readonly costs: Costs;
}

/**
 * Centred logits as coefficients of their leading principal components, predicted from one base vector per sample,
 * quantised with one step and entropy coded in blocks.
 */
export class TransformCodec implements Codec {
  readonly name = 'transform';
  readonly config: TransformConfig;
  readonly layout: CodeLayout;
  readonly decoding = DECODING;
  readonly anyTau = true;
  readonly #model: TransformModel;
  readonly #kernels: Kernels;
  readonly #decoder: LatentDecoder;
  /** Blocks decoded last, by number: of one epoch, mostly. */
  readonly #known = new Map<
    number,
    { readonly bytes: Uint8Array; readonly latents: Float32Array }
  >();
  #knownBytes = 0;
  #encoder: EncoderState | undefined;

  constructor(
    config: TransformConfig,
    model: TransformModel,
    kernels: Kernels,
    { precision }: DecodeOptions = {},
  ) {
    this.config = checkTransformConfig(config, argumentChecker('transform'));
    this.layout = { kind: 'blocks', labelsPerBlock: config.labelsPerBlock };
    this.#model = model;
    this.#kernels = kernels;
    this.#decoder = new LatentDecoder(model.basis, config.components, kernels, precision);
  }

  static fromParts(parts: CodecParts, kernels: Kernels, options?: DecodeOptions): TransformCodec {
    const config = configOf(parts, checkTransformConfig);
    const model = readTransformModel(parts, config, kernels);
    return new TransformCodec(config, model, kernels, options);
  }

  get classes(): number {
    return this.config.classes;
  }

  get tau(): number {
    return this.config.tau;
  }

  get usesViews(): boolean {
    return this.config.bases > 0 && this.config.views;
  }

  get knowsSamples(): boolean {
    return this.config.bases > 0;
  }

  async encode(
    logits: Float32Array,
    context: LabelContext,
    { threads = 0 }: ThreadOptions = {},
  ): Promise<Uint8Array> {
    const { classes, components, labelsPerBlock } = this.config;
    const count = logits.length / classes;
    const blocks: Uint8Array[] = [];
    for (let start = 0; start < count; start += labelsPerBlock) {
      const end = Math.min(start + labelsPerBlock, count);
      const part = logits.subarray(start * classes, end * classes);
      const latents = await this.#latentsOf(part, threads);
      this.#predict(latents, context, start, end, -1);
      const values = transposed(this.#indicesOf(latents, threads), components);
      blocks.push(this.#blockOf(values, end - start));
    }
    return joinBlocks(blocks);
  }

  decode(args: DecodeLabelsArgs): void {
    const tau = decodingTau(this, args);
    for (const { latents, out } of this.#chunks(args)) {
      this.#decoder.decode(latents, tau, out, args.threads);
    }
  }

  async decodeAsync(args: DecodeLabelsArgs): Promise<void> {
    const tau = decodingTau(this, args);
    for (const { latents, out } of this.#chunks(args)) {
      await this.#decoder.decodeAsync(latents, tau, out, args.threads);
    }
  }

  parts(): CodecParts {
    const { tensors } = this.#model;
    return { name: this.name, config: { ...this.config }, tensors, sampleTensors: new Map() };
  }

  dispose(): void {
    this.#known.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #blockOf(values: Int16Array, labels: number): Uint8Array {
    const stream = this.#kernels.encodeRans({ ...this.#model.codes, values, columns: labels });
    const block = new Uint8Array(BLOCK_HEAD + stream.length);
    block.set([labels & 255, labels >> 8]);
    block.set(stream, BLOCK_HEAD);
    return block;
  }

  /** Coefficients [labels, components] of least squares. */
  async #latentsOf(logits: Float32Array, threads: number): Promise<Float32Array> {
    const { classes, components, tau } = this.config;
    const rows = logits.length / classes;
    const { mean } = this.#model.basis;
    const a = centreLogits(logits, classes, tau, this.#kernels, { mean, threads });
    const out = new Float32Array(rows * components);
    const shape = { rows, inner: classes, columns: components, transposeB: true };
    await this.#kernels.projectAsync({ a, b: this.#encoderState().dual, out, ...shape, threads });
    return out;
  }

  #indicesOf(values: Float32Array, threads: number): Int16Array {
    const { step, states: trellis } = this.config;
    const unit = unitOf(step, trellis);
    const out = new Int16Array(values.length);
    if (trellis === 1) {
      roundToUnits(values, 1 / unit, out);
    } else {
      const { costs } = this.#encoderState();
      const { shifts } = this.#model;
      this.#kernels.quantise({ values, unit, shifts, costs, trellis, out, threads });
    }
    return out;
  }

  #encoderState(): EncoderState {
    const { classes, components: rank } = this.config;
    this.#encoder ??= {
      dual: dualOf(this.#model.basis.components, rank, classes),
      costs: costsOf(this.#model.codes),
    };
    return this.#encoder;
  }

  /** Adds the predictions of labels [from, to) of a context to their latents, or subtracts them. */
  #predict(
    latents: Float32Array,
    context: LabelContext,
    from: number,
    to: number,
    sign: 1 | -1,
  ): void {
    const { bases } = this.#model;
    if (bases === undefined) return;
    const mixes = this.#mixesOf(context, from, to);
    addPredictions(latents, bases, this.config.components, mixes, sign);
  }

  #mixesOf(context: LabelContext, from: number, to: number): Mixes {
    const { bases, views } = this.config;
    const { augmentation } = context;
    const check = argumentChecker('transform');
    const known = !views || augmentation !== undefined;
    check.that(known, 'none', 'context.augmentation', 'the mixes of the labels');
    const mixes = mixesOf({ ...context, augmentation: views ? augmentation : undefined }, from, to);
    for (const ids of [mixes.sample, mixes.partner]) {
      const wrong = ids.find((id) => id >= bases);
      check.that(wrong === undefined, wrong, 'context.samples', `less than ${bases}`);
    }
    return mixes;
  }

  /** Latents of some labels at a time, predictions included, and the part of `out` that is theirs. */
  *#chunks({ row, labels, context, out, threads }: DecodeLabelsArgs) {
    const { classes, components } = this.config;
    const positions = sampleIds(labels);
    requireOut(out, positions.length, classes);
    const blocks = splitBlocks(row);
    const decoded = new Map<number, Float32Array>();
    const blockOf = (number: number) => {
      const known = decoded.get(number);
      if (known !== undefined) return known;
      const block = this.#block(blocks, number, threads);
      decoded.set(number, block);
      return block;
    };
    for (let start = 0; start < positions.length; start += DECODE_CHUNK) {
      const end = Math.min(start + DECODE_CHUNK, positions.length);
      const latents = new Float32Array((end - start) * components);
      this.#gather(blockOf, positions.subarray(start, end), latents);
      this.#predict(latents, context, start, end, 1);
      yield { latents, out: out.subarray(start * classes, end * classes) };
    }
  }

  /** Copies the latents of labels, as many at once as lie side by side in a block. */
  #gather(
    blockOf: (number: number) => Float32Array,
    positions: Uint32Array,
    out: Float32Array,
  ): void {
    const { components, labelsPerBlock } = this.config;
    for (let i = 0, next = 0; i < positions.length; i = next) {
      const first = positions[i];
      const number = Math.floor(first / labelsPerBlock);
      const block = blockOf(number);
      const begin = number * labelsPerBlock;
      const end = begin + block.length / components;
      for (next = i; next < positions.length && positions[next] === first + next - i; next++) {
        if (positions[next] >= end) break;
      }
      if (next === i) throw invalidCodes(`less than ${end - begin} labels`, first - begin);
      const from = (first - begin) * components;
      out.set(block.subarray(from, from + (next - i) * components), i * components);
    }
  }

  /** Latents [labels, components] of a block; those of the latest ones are kept. */
  #block(blocks: readonly Uint8Array[], number: number, threads: number | undefined): Float32Array {
    const bytes = blocks[number];
    if (bytes === undefined) throw invalidCodes(`less than ${blocks.length} blocks`, number);
    const known = this.#known.get(number);
    if (known !== undefined && Buffer.compare(known.bytes, bytes) === 0) return known.latents;
    const latents = this.#decodeBlock(bytes, threads);
    const size = bytes.length + latents.byteLength;
    if (known !== undefined) this.#knownBytes -= known.bytes.length + known.latents.byteLength;
    if (this.#knownBytes + size > KEPT_BYTES) {
      this.#known.clear();
      this.#knownBytes = 0;
    }
    this.#known.set(number, { bytes: bytes.slice(), latents });
    this.#knownBytes += size;
    return latents;
  }

  #decodeBlock(bytes: Uint8Array, threads: number | undefined): Float32Array {
    const labels = bytes.length < BLOCK_HEAD ? 0 : bytes[0] + 256 * bytes[1];
    const { components, labelsPerBlock, step, states: trellis } = this.config;
    if (labels < 1 || labels > labelsPerBlock) {
      throw invalidCodes(`a block of 1 to ${labelsPerBlock} labels`, labels);
    }
    const indices = new Int16Array(components * labels);
    const stream = bytes.subarray(BLOCK_HEAD);
    const { codes, shifts } = this.#model;
    this.#kernels.decodeRans({ ...codes, bytes: stream, columns: labels, out: indices });
    const out = new Float32Array(indices.length);
    const unit = unitOf(step, trellis);
    this.#kernels.dequantise({ indices, shifts, unit, trellis, out, threads });
    return out;
  }
}
