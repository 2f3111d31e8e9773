import { SoftpackError } from '../errors.js';
import {
  type Addon,
  type NativeDecodeArgs,
  type NativeDecoder,
  type NativeEncodeArgs,
  type NativeNearestArgs,
  type NativeProjectArgs,
  STATUS_INVALID_CODES,
  STATUS_OK,
} from './addon.js';
import {
  type CheckedDecode,
  type CheckedEncode,
  type CheckedNearest,
  type CheckedProject,
  checkDecode,
  checkDecoderSpec,
  checkEncode,
  checkNearest,
  checkPack,
  checkProject,
  checkUnpack,
} from './check.js';
import type { DecodeArgs, DecodeMethod, Decoder, DecoderSpec, Kernels } from './kernels.js';
import { checkCodes } from './reference/decode.js';

/** The addon behind the face that every backend has. */
export function createCpuKernels(addon: Addon, isa: string): Kernels {
  const ended = (operation: string, status: number) => {
    if (status !== STATUS_OK) throw nativeFailure(operation, addon.statusText(status));
  };
  return {
    name: 'cpu',
    isa,
    project: (args) => ended('project', addon.project(...projectArgs(checkProject(args)))),
    projectAsync: async (args) =>
      ended('project', await addon.projectAsync(...projectArgs(checkProject(args)))),
    nearest: (args) => ended('nearest', addon.nearest(...nearestArgs(checkNearest(args)))),
    nearestAsync: async (args) =>
      ended('nearest', await addon.nearestAsync(...nearestArgs(checkNearest(args)))),
    pack: (args) => {
      const { indices, bits, out, bitOffset } = checkPack(args);
      ended('pack', addon.pack(indices, bits, out, bitOffset));
    },
    unpack: (args) => {
      const { packed, bits, out, bitOffset } = checkUnpack(args);
      ended('unpack', addon.unpack(packed, bits, out, bitOffset));
    },
    encode: (args) => ended('encode', addon.encode(...encodeArgs(checkEncode(args)))),
    encodeAsync: async (args) =>
      ended('encode', await addon.encodeAsync(...encodeArgs(checkEncode(args)))),
    createDecoder: (spec) => new CpuDecoder(addon, checkDecoderSpec(spec)),
  };
}

class CpuDecoder implements Decoder {
  readonly spec: DecoderSpec;
  readonly method: DecodeMethod;
  readonly #addon: Addon;
  #native: NativeDecoder | undefined;

  constructor(addon: Addon, spec: DecoderSpec) {
    this.spec = spec;
    this.#addon = addon;
    this.#native = createNativeDecoder(addon, spec);
    this.method = this.#native.method === METHODS.table ? 'table' : 'latent';
  }

  decode(args: DecodeArgs): void {
    const { native, checked } = this.#prepare(args);
    this.#end(native.decode(...decodeArgs(checked)), checked);
  }

  async decodeAsync(args: DecodeArgs): Promise<void> {
    const { native, checked } = this.#prepare(args);
    this.#end(await native.decodeAsync(...decodeArgs(checked)), checked);
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #prepare(args: DecodeArgs): { native: NativeDecoder; checked: CheckedDecode } {
    const native = this.#native;
    if (native === undefined) {
      throw new SoftpackError('INVALID_ARGUMENT', 'already disposed', { field: 'decoder' });
    }
    return { native, checked: checkDecode(this.spec, args) };
  }

  #end(status: number, checked: CheckedDecode): void {
    if (status === STATUS_OK) return;
    // The status tells that an index is wrong; only looking again tells which.
    if (status === STATUS_INVALID_CODES) checkCodes(this.spec, checked);
    throw nativeFailure('decode', this.#addon.statusText(status));
  }
}

/** Values of SoftpackHead and SoftpackMethod in native/core/backend.h. */
const HEADS = { identity: 0, clamp: 1, softmax: 2 } as const;
const METHODS = { auto: 0, latent: 1, table: 2 } as const;

function createNativeDecoder(addon: Addon, spec: DecoderSpec): NativeDecoder {
  const { head } = spec;
  const parameter = head.kind === 'clamp' ? head.eps : head.kind === 'softmax' ? head.tau : 0;
  try {
    return new addon.Decoder(
      spec.codebooks,
      spec.basis,
      spec.bias ?? null,
      spec.classes,
      spec.latent,
      spec.stages,
      spec.levels,
      spec.width,
      spec.codebookStride,
      spec.latentStep,
      spec.bits,
      HEADS[head.kind],
      parameter,
      METHODS[spec.method ?? 'auto'],
    );
  } catch (error) {
    throw nativeFailure('createDecoder', error instanceof Error ? error.message : String(error));
  }
}

function projectArgs(args: CheckedProject): NativeProjectArgs {
  const { a, b, out, rows, inner, columns, transposeA, transposeB, accumulate, threads } = args;
  return [a, b, out, rows, inner, columns, transposeA, transposeB, accumulate, threads];
}

function nearestArgs({
  vectors,
  codebook,
  out,
  width,
  threads,
}: CheckedNearest): NativeNearestArgs {
  return [vectors, codebook, out, width, threads];
}

function encodeArgs(args: CheckedEncode): NativeEncodeArgs {
  const { labels, projection, codebook, out, classes, latent, width, bits, threads } = args;
  return [labels, projection, codebook, out, classes, latent, width, bits, threads];
}

function decodeArgs({ codes, list, start, count, out, threads }: CheckedDecode): NativeDecodeArgs {
  return [codes, list ?? null, start, count, out, threads];
}

function nativeFailure(operation: string, text: string): SoftpackError {
  return new SoftpackError('NATIVE_FAILED', `${operation} failed: ${text}`);
}
