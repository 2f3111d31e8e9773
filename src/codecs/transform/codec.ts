import { joinBlocks, splitBlocks } from '../../core/blocks.js';
import type { CodecParts, CodeLayout, SampleBlockOf } from '../../core/codec-parts.js';
import { sampleIds } from '../../core/samples.js';
import type { LatentDecoder } from '../../kernels/latents.js';
import type { Kernels, ThreadOptions } from '../../kernels/types.js';
import type { ViewUse } from '../../labels/views.js';
import {
  type Codec,
  type DecodeLabelsArgs,
  type DecodeOptions,
  decodingTau,
  type LabelContext,
} from '../codec.js';
import { argumentChecker, configOf } from '../config.js';
import { requireOut } from '../labelwise.js';
import { addPredictions } from './base-vectors.js';
import { Blocks } from './blocks.js';
import type { TransformName } from './choice.js';
import { checkTransformConfig, type TransformConfig } from './config.js';
import { cutMixes, type Mixes, mixesOf } from './mixes.js';
import { readTransformModel, type TransformModel } from './model.js';
import { centreLogits, dualOf } from './project.js';
import { type Costs, costsOf, roundToUnits, transposed, unitOf } from './quantiser.js';

const decodingWith = (predictor: string) =>
  'a block is the number of its labels (u16, little-endian) and an rANS stream of indices [components, labels] with the ' +
  'tables of `tables`; latent = their values in steps, or with a trellis (states > 1) half steps, moved towards zero by ' +
  `(shifts - 128) / 128, + lambda * base vector of the sample + (1 - lambda) * that of the sample mixed in${predictor}; ` +
  'y = softmax((mean + latent @ components) / tau); docs/codecs.md of softpack has every byte';

/** What archives say of their codes. */
export const DECODINGS: Readonly<Record<TransformName, string>> = {
  transform: decodingWith(''),
  predictive: decodingWith(
    ', + what the network, if there is one, predicts from embeddings of both',
  ),
};

/** Labels decoded per matrix product. */
const DECODE_CHUNK = 1024;
/** Labels centred and projected at a time: some MB that stay in a cache. */
const ENCODE_CHUNK = 512;

/** What labels are predicted from. */
interface Known {
  readonly mixes: Mixes;
  readonly sampleBlocks: SampleBlockOf | undefined;
}

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
  readonly name: TransformName;
  readonly config: TransformConfig;
  readonly layout: CodeLayout;
  readonly decoding: string;
  readonly anyTau = true;
  readonly #model: TransformModel;
  readonly #kernels: Kernels;
  readonly #blocks: Blocks;
  readonly #fastest: boolean;
  #decoder: LatentDecoder | undefined;
  #encoder: EncoderState | undefined;

  constructor(
    name: TransformName,
    config: TransformConfig,
    model: TransformModel,
    kernels: Kernels,
    { precision }: DecodeOptions = {},
  ) {
    this.name = name;
    this.decoding = DECODINGS[name];
    this.config = checkTransformConfig(config, argumentChecker(name));
    this.layout = { kind: 'blocks', labelsPerBlock: config.labelsPerBlock };
    this.#model = model;
    this.#kernels = kernels;
    this.#blocks = new Blocks(this.config, model, kernels);
    this.#fastest = precision === 'fastest';
  }

  static fromParts(parts: CodecParts, kernels: Kernels, options?: DecodeOptions): TransformCodec {
    const name = parts.name === 'predictive' ? 'predictive' : 'transform';
    const config = configOf(parts, checkTransformConfig);
    const model = readTransformModel(parts, config, kernels);
    return new TransformCodec(name, config, model, kernels, options);
  }

  get classes(): number {
    return this.config.classes;
  }

  get tau(): number {
    return this.config.tau;
  }

  get usesViews(): ViewUse {
    const { bases, views, network } = this.config;
    return network !== undefined ? 'shown' : bases > 0 && views;
  }

  get knowsSamples(): boolean {
    return this.#samples < Number.POSITIVE_INFINITY;
  }

  /** Samples that something is known of. */
  get #samples(): number {
    const { bases, network } = this.config;
    const known = [bases, network?.embeddings ?? 0].filter((count) => count > 0);
    return Math.min(...known);
  }

  async encode(
    logits: Float32Array,
    context: LabelContext,
    { threads = 0 }: ThreadOptions = {},
  ): Promise<Uint8Array> {
    const { classes, components, labelsPerBlock } = this.config;
    const count = logits.length / classes;
    const blocks: Uint8Array[] = [];
    const known = this.#knownOf(context);
    for (let start = 0; start < count; start += labelsPerBlock) {
      const end = Math.min(start + labelsPerBlock, count);
      const part = logits.subarray(start * classes, end * classes);
      const latents = await this.#latentsOf(part, threads);
      this.#predict(latents, known, start, end, -1);
      const values = transposed(this.#indicesOf(latents, threads), components);
      blocks.push(this.#blocks.encode(values));
    }
    return joinBlocks(blocks);
  }

  decode(args: DecodeLabelsArgs): void {
    const tau = decodingTau(this, args);
    const { threads } = args;
    for (const { latents, out } of this.#chunks(args)) {
      this.#latentDecoder().decode({ latents, tau, out, threads });
    }
  }

  async decodeAsync(args: DecodeLabelsArgs): Promise<void> {
    const tau = decodingTau(this, args);
    const { threads } = args;
    for (const { latents, out } of this.#chunks(args)) {
      await this.#latentDecoder().decodeAsync({ latents, tau, out, threads });
    }
  }

  parts(): CodecParts {
    const { tensors, sampleBlocks } = this.#model;
    const side = { sampleTensors: new Map(), ...(sampleBlocks && { sampleBlocks }) };
    return { name: this.name, config: { ...this.config }, tensors, ...side };
  }

  dispose(): void {
    this.#blocks.clear();
    this.#model.vectors?.clear();
    this.#decoder?.dispose();
    this.#decoder = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Coefficients [labels, components] of least squares. */
  async #latentsOf(logits: Float32Array, threads: number): Promise<Float32Array> {
    const { classes, components, tau } = this.config;
    const { mean } = this.#model.basis;
    const rows = logits.length / classes;
    const out = new Float32Array(rows * components);
    const centred = new Float32Array(Math.min(rows, ENCODE_CHUNK) * classes);
    for (let begin = 0; begin < rows; begin += ENCODE_CHUNK) {
      const end = Math.min(begin + ENCODE_CHUNK, rows);
      const a = centred.subarray(0, (end - begin) * classes);
      const part = logits.subarray(begin * classes, end * classes);
      centreLogits(part, classes, tau, this.#kernels, { mean, threads, out: a });
      await this.#kernels.projectAsync({
        ...{ a, b: this.#encoderState().dual, threads, transposeB: true },
        ...{ rows: end - begin, inner: classes, columns: components },
        out: out.subarray(begin * components, end * components),
      });
    }
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

  #latentDecoder(): LatentDecoder {
    const { mean: bias, components: basis } = this.#model.basis;
    const fastest = this.#fastest;
    this.#decoder ??= this.#kernels.createLatentDecoder({ basis, bias, fastest });
    return this.#decoder;
  }

  #encoderState(): EncoderState {
    const { classes, components: rank } = this.config;
    this.#encoder ??= {
      dual: dualOf(this.#model.basis.components, rank, classes),
      costs: costsOf(this.#model.codes),
    };
    return this.#encoder;
  }

  /** Adds the predictions of labels [from, to) to their latents, or subtracts them. */
  #predict(
    latents: Float32Array,
    known: Known | undefined,
    from: number,
    to: number,
    sign: 1 | -1,
  ): void {
    if (known === undefined) return;
    const { mixes, sampleBlocks } = known;
    const { bases, network, vectors } = this.#model;
    const own = cutMixes(mixes, from, to);
    const { components } = this.config;
    network?.addTo(latents, components, own, sign);
    if (bases !== undefined) addPredictions(latents, bases, components, own, sign);
    vectors?.addTo(latents, own, sampleBlocks, sign);
  }

  /** As far as labels are predicted from them. */
  #knownOf(context: LabelContext): Known | undefined {
    if (!this.knowsSamples) return undefined;
    const { augmentation } = context;
    const shown = this.config.network !== undefined;
    const check = argumentChecker(this.name);
    const known = !this.usesViews || augmentation !== undefined;
    check.that(known, 'none', 'context.augmentation', 'the mixes of the labels');
    const used = this.usesViews ? augmentation : undefined;
    const mixes = mixesOf({ ...context, augmentation: used }, shown);
    const told = !shown || mixes.places !== undefined;
    check.that(told, 'none', 'context.augmentation.placesIn', 'what the views show');
    const samples = this.#samples;
    for (const ids of [mixes.sample, mixes.partner]) {
      const wrong = ids.find((id) => id >= samples);
      check.that(wrong === undefined, wrong, 'context.samples', `less than ${samples}`);
    }
    return { mixes, sampleBlocks: context.sampleBlocks };
  }

  /** Latents of some labels at a time, predictions included, and the part of `out` that is theirs. */
  *#chunks({ row, labels, context, out, threads }: DecodeLabelsArgs) {
    const { classes, components } = this.config;
    const positions = sampleIds(labels);
    requireOut(out, positions.length, classes);
    const blocks = splitBlocks(row);
    const known = this.#knownOf(context);
    for (let start = 0; start < positions.length; start += DECODE_CHUNK) {
      const end = Math.min(start + DECODE_CHUNK, positions.length);
      const latents = new Float32Array((end - start) * components);
      this.#blocks.gather(blocks, positions.subarray(start, end), latents, threads);
      this.#predict(latents, known, start, end, 1);
      yield { latents, out: out.subarray(start * classes, end * classes) };
    }
  }
}
