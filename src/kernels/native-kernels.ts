import { SoftpackError } from '../errors.js';
import {
  type Addon,
  type NativeAugmentArgs,
  type NativeDecodeArgs,
  type NativeDecodeKlArgs,
  type NativeDecoder,
  type NativeDeviceBytes,
  type NativeEncoder,
  type NativeLabels,
  type NativeNearestArgs,
  type NativeOperations,
  type NativeProjectArgs,
  STATUS_DEVICE_LOST,
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
  checkCodesArray,
  checkDecode,
  checkDecodeKl,
  checkDecoderSpec,
  checkEncode,
  checkEncoderSpec,
  checkNearest,
  checkPack,
  checkProject,
  checkUnpack,
  present,
} from './check.js';
import { type CheckedAugment, checkAugment } from './check-augment.js';
import { checkCodes } from './reference/decode.js';
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
  ResidentCodes,
} from './types.js';

/** A backend of the addon: its operations, and words for a status of theirs. */
export interface NativeBackend {
  readonly name: 'cpu' | 'cuda';
  readonly isa: string;
  readonly operations: NativeOperations;
  describe(status: number): string;
  keepCodes(codes: Uint8Array): NativeDeviceBytes | undefined;
}

export function createCpuKernels(addon: Addon, isa: string): Kernels {
  return createNativeKernels({
    name: 'cpu',
    isa,
    operations: addon,
    describe: (status) => addon.statusText(status),
    keepCodes: () => undefined,
  });
}

/** A native backend behind the face that every backend has. */
export function createNativeKernels(backend: NativeBackend): Kernels {
  const addon = backend.operations;
  const ended = (operation: string, status: number) => {
    if (status !== STATUS_OK) throw nativeFailure(backend, operation, status);
  };
  return {
    name: backend.name,
    isa: backend.isa,
    residentCodes: (codes) => new NativeResidentCodes(backend, checkCodesArray(codes)),
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
    createEncoder: (spec) => new NativeEncoderHandle(backend, checkEncoderSpec(spec)),
    createDecoder: (spec) => new NativeDecoderHandle(backend, checkDecoderSpec(spec)),
    augment: (args) => ended('augment', addon.augment(...augmentArgs(checkAugment(args)))),
    augmentAsync: async (args) =>
      ended('augment', await addon.augmentAsync(...augmentArgs(checkAugment(args)))),
  };
}

class NativeEncoderHandle implements Encoder {
  readonly spec: EncoderSpec;
  readonly #backend: NativeBackend;
  #native: NativeEncoder | undefined;

  constructor(backend: NativeBackend, spec: EncoderSpec) {
    const { projection, codebook, classes, latent, width, bits } = spec;
    this.spec = spec;
    this.#backend = backend;
    this.#native = created(backend, 'createEncoder', () => {
      return new backend.operations.Encoder(projection, codebook, classes, latent, width, bits);
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
    if (status !== STATUS_OK) throw nativeFailure(this.#backend, 'encode', status);
  }
}

class NativeDecoderHandle implements Decoder {
  readonly spec: DecoderSpec;
  readonly method: DecodeMethod;
  readonly #backend: NativeBackend;
  #native: NativeDecoder | undefined;

  constructor(backend: NativeBackend, spec: DecoderSpec) {
    this.spec = spec;
    this.#backend = backend;
    this.#native = createNativeDecoder(backend, spec);
    this.method = METHODS[this.#native.method - 1] as DecodeMethod;
  }

  decode(args: DecodeArgs): void {
    const native = present('decoder', this.#native);
    const checked = checkDecode(this.spec, args);
    this.#end('decode', native.decode(...decodeArgs(this.#backend, checked)), checked);
  }

  async decodeAsync(args: DecodeArgs): Promise<void> {
    const native = present('decoder', this.#native);
    const checked = checkDecode(this.spec, args);
    this.#end('decode', await native.decodeAsync(...decodeArgs(this.#backend, checked)), checked);
  }

  decodeKl(args: DecodeKlArgs): void {
    const native = present('decoder', this.#native);
    const checked = checkDecodeKl(this.spec, args);
    this.#end('decodeKl', native.decodeKl(...decodeKlArgs(this.#backend, checked)), checked);
  }

  async decodeKlAsync(args: DecodeKlArgs): Promise<void> {
    const native = present('decoder', this.#native);
    const checked = checkDecodeKl(this.spec, args);
    this.#end(
      'decodeKl',
      await native.decodeKlAsync(...decodeKlArgs(this.#backend, checked)),
      checked,
    );
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
    throw nativeFailure(this.#backend, operation, status);
  }
}

class NativeResidentCodes implements ResidentCodes {
  readonly host: Uint8Array;
  readonly #backend: NativeBackend;
  #native: NativeDeviceBytes | undefined;

  constructor(backend: NativeBackend, host: Uint8Array) {
    this.host = host;
    this.#backend = backend;
    this.#native = created(backend, 'residentCodes', () => backend.keepCodes(host));
  }

  /** The codes where `backend` reads them without a copy; undefined where it does not, or no longer. */
  of(backend: NativeBackend): NativeDeviceBytes | undefined {
    return backend === this.#backend ? this.#native : undefined;
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** In the order of SoftpackHead, SoftpackMethod (which has `auto` first), SoftpackPrecision, SoftpackLoss. */
const HEADS = ['identity', 'clamp', 'softmax'] as const;
const METHODS = ['latent', 'table', 'fixed', 'bfloat', 'split'] as const;
const PRECISIONS = ['exact', 'fast', 'fastest'] as const;
const LOSSES = ['kl', 'cross-entropy'] as const;

function createNativeDecoder(backend: NativeBackend, spec: DecoderSpec): NativeDecoder {
  const { head } = spec;
  const parameter = head.kind === 'clamp' ? head.eps : head.kind === 'softmax' ? head.tau : 0;
  return created(backend, 'createDecoder', () => {
    return new backend.operations.Decoder(
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

function created<T>(backend: NativeBackend, operation: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    const { message, status } = error as Error & { readonly status?: number };
    if (status !== undefined) throw nativeFailure(backend, operation, status);
    throw new SoftpackError('NATIVE_FAILED', `${operation} failed: ${message}`);
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

function labelsArgs(
  backend: NativeBackend,
  { codes, resident, list, start, count, prediction }: CheckedLabels,
): NativeLabels {
  return [
    (resident instanceof NativeResidentCodes && resident.of(backend)) || codes,
    list ?? null,
    start,
    count,
    prediction?.pairs ?? null,
    prediction?.weights ?? null,
  ];
}

function decodeArgs(backend: NativeBackend, checked: CheckedDecode): NativeDecodeArgs {
  const { out, outType, threads } = checked;
  return [...labelsArgs(backend, checked), out, outType === 'bfloat16', threads];
}

function decodeKlArgs(backend: NativeBackend, checked: CheckedDecodeKl): NativeDecodeKlArgs {
  const { logits, losses, gradient, tau, scale, loss, threads } = checked;
  const outputs = [losses ?? null, gradient ?? null] as const;
  return [
    ...labelsArgs(backend, checked),
    logits,
    ...outputs,
    tau,
    scale,
    LOSSES.indexOf(loss),
    threads,
  ];
}

function augmentArgs(args: CheckedAugment): NativeAugmentArgs {
  const { images, sizes, views, weights, out, size, scale, shift, threads } = args;
  return [images, sizes, views, weights, out, size[0], size[1], scale, shift, threads];
}

/** An operation of a backend that failed; the status tells whether another backend may do better. */
export class NativeFailure extends SoftpackError {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(
      status === STATUS_DEVICE_LOST
        ? 'DEVICE_LOST'
        : status === STATUS_UNSUPPORTED_METHOD
          ? 'UNSUPPORTED'
          : 'NATIVE_FAILED',
      message,
      status === STATUS_UNSUPPORTED_METHOD ? { field: 'method' } : {},
    );
  }
}

function nativeFailure(backend: NativeBackend, operation: string, status: number): NativeFailure {
  return new NativeFailure(status, `${operation} failed: ${backend.describe(status)}`);
}
