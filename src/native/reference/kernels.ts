import { SoftpackError } from '../../errors.js';
import {
  checkDecode,
  checkDecoderSpec,
  checkEncode,
  checkNearest,
  checkPack,
  checkProject,
  checkUnpack,
} from '../check.js';
import type { DecodeArgs, Decoder, DecoderSpec, Kernels } from '../kernels.js';
import { readIndex, writeIndex } from './bits.js';
import { decode } from './decode.js';
import { encode } from './encode.js';
import { nearest } from './nearest.js';
import { project } from './project.js';

/**
 * Every operation in plain TypeScript, float64 inside: the oracle of the native kernels' tests, and the fallback
 * where the addon could not be built. Single-threaded; the asynchronous forms do their work before they return.
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
    for (const [i, index] of indices.entries()) writeIndex(out, bitOffset + i * bits, bits, index);
  },
  unpack: (args) => {
    const { packed, bits, out, bitOffset } = checkUnpack(args);
    for (let i = 0; i < out.length; i++) out[i] = readIndex(packed, bitOffset + i * bits, bits);
  },
  encode: (args) => encode(checkEncode(args)),
  encodeAsync: async (args) => encode(checkEncode(args)),
  createDecoder: (spec) => new ReferenceDecoder(checkDecoderSpec(spec)),
};

class ReferenceDecoder implements Decoder {
  readonly spec: DecoderSpec;
  readonly method = 'latent';
  #tables: DecoderSpec | undefined;

  constructor(spec: DecoderSpec) {
    this.spec = spec;
    this.#tables = {
      ...spec,
      codebooks: spec.codebooks.slice(),
      basis: spec.basis.slice(),
      ...(spec.bias !== undefined && { bias: spec.bias.slice() }),
    };
  }

  decode(args: DecodeArgs): void {
    if (this.#tables === undefined) {
      throw new SoftpackError('INVALID_ARGUMENT', 'already disposed', { field: 'decoder' });
    }
    decode(this.#tables, checkDecode(this.spec, args));
  }

  async decodeAsync(args: DecodeArgs): Promise<void> {
    this.decode(args);
  }

  dispose(): void {
    this.#tables = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
