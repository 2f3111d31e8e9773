import { SoftpackError } from '../errors.js';
import {
  type Addon,
  type NativeAugmentArgs,
  type NativeDecodeArgs,
  type NativeDecodeKlArgs,
  type NativeDecoder,
  type NativeEncoder,
  type NativeLabels,
  type NativeNearestArgs,
  type NativeProjectArgs,
  STATUS_INVALID_CODES,
  STATUS_OK,
  STATUS_UNSUPPORTED_METHOD,
} from './addon.js';
import {
  type CheckedDecode,
  type CheckedDecodeKl,
  type CheckedLabels,
  type CheckedNearest,
  type CheckedProject,
  checkDecode,
  checkDecodeKl,
  checkDecoderSpec,
  checkEncode,
  checkEncoderSpec,
  checkNearest,
  checkPack,
  checkProject,
  checkUnpack,
} from './check.js';
import { type CheckedAugment, checkAugment } from './check-augment.js';
import type {
  DecodeArgs,
  DecodeKlArgs,
  DecodeMethod,
  Decoder,
  DecoderSpec,
  EncodeArgs,
  Encoder,
  EncoderSpec,
  Kernels,
} from './kernels.js';
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
    createEncoder: (spec) => new CpuEncoder(addon, checkEncoderSpec(spec)),
    createDecoder: (spec) => new CpuDecoder(addon, checkDecoderSpec(spec)),
    augment: (args) => ended('augment', addon.augment(...augmentArgs(checkAugment(args)))),
    augmentAsync: async (args) =>
      ended('augment', await addon.augmentAsync(...augmentArgs(checkAugment(args)))),
  };
}

class CpuEncoder implements Encoder {
  readonly spec: EncoderSpec;
  readonly #addon: Addon;
  #native: NativeEncoder | undefined;

  constructor(addon: Addon, spec: EncoderSpec) {
    const { projection, codebook, classes, latent, width, bits } = spec;
    this.spec = spec;
    this.#addon = addon;
    this.#native = created('createEncoder', () => {
      return new addon.Encoder(projection, codebook, classes, latent, width, bits);
    });
  }

  encode(args: EncodeArgs): void {
    const native = present('encoder', this.#native);
    const { labels, out, threads } = checkEncode(this.spec, args);
    this.#end(native.encode(labels, out, threads));
  }

  async encodeAsync(args: EncodeArgs): Promise<void> {
    const native = present('encoder', this.#native);
    const { labels, out, threads } = checkEncode(this.spec, args);
    this.#end(await native.encodeAsync(labels, out, threads));
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #end(status: number): void {
    if (status !== STATUS_OK) throw nativeFailure('encode', this.#addon.statusText(status));
  }
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
    this.method = METHODS[this.#native.method - 1] as DecodeMethod;
  }

  decode(args: DecodeArgs): void {
    const native = present('decoder', this.#native);
    const checked = checkDecode(this.spec, args);
    this.#end('decode', native.decode(...decodeArgs(checked)), checked);
  }

  async decodeAsync(args: DecodeArgs): Promise<void> {
    const native = present('decoder', this.#native);
    const checked = checkDecode(this.spec, args);
    this.#end('decode', await native.decodeAsync(...decodeArgs(checked)), checked);
  }

  decodeKl(args: DecodeKlArgs): void {
    const native = present('decoder', this.#native);
    const checked = checkDecodeKl(this.spec, args);
    this.#end('decodeKl', native.decodeKl(...decodeKlArgs(checked)), checked);
  }

  async decodeKlAsync(args: DecodeKlArgs): Promise<void> {
    const native = present('decoder', this.#native);
    const checked = checkDecodeKl(this.spec, args);
    this.#end('decodeKl', await native.decodeKlAsync(...decodeKlArgs(checked)), checked);
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #end(operation: string, status: number, checked: CheckedLabels): void {
    if (status === STATUS_OK) return;
    // The status tells that an index is wrong; only looking again tells which.
    if (status === STATUS_INVALID_CODES) checkCodes(this.spec, checked);
    throw nativeFailure(operation, this.#addon.statusText(status));
  }
}

/** In the order of SoftpackHead, SoftpackMethod (which has `auto` first), SoftpackPrecision, SoftpackLoss. */
const HEADS = ['identity', 'clamp', 'softmax'] as const;
const METHODS = ['latent', 'table', 'fixed', 'bfloat', 'split'] as const;
const PRECISIONS = ['exact', 'fast', 'fastest'] as const;
const LOSSES = ['kl', 'cross-entropy'] as const;

function createNativeDecoder(addon: Addon, spec: DecoderSpec): NativeDecoder {
  const { head } = spec;
  const parameter = head.kind === 'clamp' ? head.eps : head.kind === 'softmax' ? head.tau : 0;
  return created('createDecoder', () => {
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
      HEADS.indexOf(head.kind),
      parameter,
      spec.method === undefined ? 0 : METHODS.indexOf(spec.method) + 1,
      PRECISIONS.indexOf(spec.precision ?? 'exact'),
      spec.bases ?? null,
      spec.memoryCap ?? 0,
    );
  });
}

function created<T>(operation: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    const { message, status } = error as Error & { readonly status?: number };
    if (status === STATUS_UNSUPPORTED_METHOD) {
      throw new SoftpackError('UNSUPPORTED', message, { field: 'method' });
    }
    throw nativeFailure(operation, message);
  }
}

function present<T>(field: string, native: T | undefined): T {
  if (native === undefined) {
    throw new SoftpackError('INVALID_ARGUMENT', 'already disposed', { field });
  }
  return native;
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

function labelsArgs({ codes, list, start, count, prediction }: CheckedLabels): NativeLabels {
  return [
    codes,
    list ?? null,
    start,
    count,
    prediction?.pairs ?? null,
    prediction?.weights ?? null,
  ];
}

function decodeArgs(checked: CheckedDecode): NativeDecodeArgs {
  const { out, outType, threads } = checked;
  return [...labelsArgs(checked), out, outType === 'bfloat16', threads];
}

function decodeKlArgs(checked: CheckedDecodeKl): NativeDecodeKlArgs {
  const { logits, losses, gradient, tau, scale, loss, threads } = checked;
  const outputs = [losses ?? null, gradient ?? null] as const;
  return [...labelsArgs(checked), logits, ...outputs, tau, scale, LOSSES.indexOf(loss), threads];
}

function augmentArgs(args: CheckedAugment): NativeAugmentArgs {
  const { images, sizes, views, weights, out, size, scale, shift, threads } = args;
  return [images, sizes, views, weights, out, size[0], size[1], scale, shift, threads];
}

function nativeFailure(operation: string, text: string): SoftpackError {
  return new SoftpackError('NATIVE_FAILED', `${operation} failed: ${text}`);
}
