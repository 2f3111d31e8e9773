import { readBits, writeBits } from '../../core/bits.js';
import { checkAugment } from '../check/augment.js';
import { checkCodesArray, checkDecode, checkDecodeKl, checkEncode } from '../check/labels.js';
import { checkNearest, checkProject } from '../check/matrices.js';
import { checkPack, checkUnpack } from '../check/packing.js';
import { present } from '../check/sizes.js';
import { checkDecoderSpec, checkEncoderSpec } from '../check/specs.js';
import type {
  DecodeArgs,
  DecodeKlArgs,
  Decoder,
  DecoderSpec,
  EncodeArgs,
  Encoder,
  EncoderSpec,
  Kernels,
} from '../types.js';
import { augment } from './augment.js';
import { decode, decodeKl } from './decode.js';
import { encode } from './encode.js';
import { ReferenceLatentDecoder } from './latents.js';
import { nearest } from './nearest.js';
import { project } from './project.js';
import { centreLogits, dequantise, quantise } from './quantiser.js';
import { decodeRans, encodeRans } from './rans.js';
import { listTokens } from './token-list.js';
import { decodeTokens, encodeTokens } from './tokens.js';

/**
 * Every operation in plain TypeScript, float64 inside: the oracle of the native kernels' tests, and the fallback
 * if the addon could not be built. Single-threaded; the asynchronous forms do their work before they return.
 */
export const referenceKernels: Kernels = {
  name: 'reference',
  isa: 'javascript',
  project: (args) => project(checkProject(args)),
  projectAsync: async (args) => project(checkProject(args)),
  nearest: (args) => nearest(checkNearest(args)),
  nearestAsync: async (args) => nearest(checkNearest(args)),
  pack: (args) => {
    const { indices, bits, out, bitOffset } = checkPack(args);
    for (const [i, index] of indices.entries()) writeBits(out, bitOffset + i * bits, bits, index);
  },
  unpack: (args) => {
    const { packed, bits, out, bitOffset } = checkUnpack(args);
    for (let i = 0; i < out.length; i++) out[i] = readBits(packed, bitOffset + i * bits, bits);
  },
  createEncoder: (spec) => new ReferenceEncoder(checkEncoderSpec(spec)),
  residentCodes: (codes) => {
    const host = checkCodesArray(codes);
    return { host, dispose: () => {}, [Symbol.dispose]: () => {} };
  },
  createDecoder: (spec) => new ReferenceDecoder(checkDecoderSpec(spec)),
  augment: (args) => augment(checkAugment(args)),
  augmentAsync: async (args) => augment(checkAugment(args)),
  encodeRans,
  decodeRans,
  centreLogits,
  quantise,
  dequantise,
  createLatentDecoder: (spec) => new ReferenceLatentDecoder(spec),
  encodeTokens,
  decodeTokens,
  listTokens,
};

class ReferenceEncoder implements Encoder {
  readonly spec: EncoderSpec;
  #copied: EncoderSpec | undefined;

  constructor(spec: EncoderSpec) {
    this.spec = spec;
    this.#copied = {
      ...spec,
      projection: spec.projection.slice(),
      codebook: spec.codebook.slice(),
    };
  }

  encode(args: EncodeArgs): void {
    encode(present('encoder', this.#copied), checkEncode(this.spec, args));
  }

  async encodeAsync(args: EncodeArgs): Promise<void> {
    this.encode(args);
  }

  dispose(): void {
    this.#copied = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

class ReferenceDecoder implements Decoder {
  readonly spec: DecoderSpec;
  /** Whatever the spec requests: float64 is within the bounds of every method. */
  readonly method = 'latent';
  #tables: DecoderSpec | undefined;

  constructor(spec: DecoderSpec) {
    this.spec = spec;
    this.#tables = {
      ...spec,
      codebooks: spec.codebooks.slice(),
      basis: spec.basis.slice(),
      ...(spec.bias !== undefined && { bias: spec.bias.slice() }),
      ...(spec.bases !== undefined && { bases: spec.bases.slice() }),
    };
  }

  decode(args: DecodeArgs): void {
    decode(present('decoder', this.#tables), checkDecode(this.spec, args));
  }

  async decodeAsync(args: DecodeArgs): Promise<void> {
    this.decode(args);
  }

  decodeKl(args: DecodeKlArgs): void {
    decodeKl(present('decoder', this.#tables), checkDecodeKl(this.spec, args));
  }

  async decodeKlAsync(args: DecodeKlArgs): Promise<void> {
    this.decodeKl(args);
  }

  dispose(): void {
    this.#tables = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
