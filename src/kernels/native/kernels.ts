import { STATUSES } from '../abi.js';
import type { Addon, NativeAugmentArgs, NativeNearestArgs, NativeProjectArgs } from '../addon.js';
import { RESAMPLES, ROUNDS } from '../augment-args.js';
import { type CheckedAugment, checkAugment } from '../check/augment.js';
import { checkCodesArray } from '../check/labels.js';
import {
  type CheckedNearest,
  type CheckedProject,
  checkNearest,
  checkProject,
} from '../check/matrices.js';
import { checkPack, checkUnpack } from '../check/packing.js';
import { checkDecoderSpec, checkEncoderSpec } from '../check/specs.js';
import type { Kernels } from '../types.js';
import { type NativeBackend, nativeFailure } from './backend.js';
import { NativeDecoderHandle } from './decoder.js';
import { NativeEncoderHandle } from './encoder.js';
import { NativeLatentDecoderHandle } from './latents.js';
import { centreLogits, dequantise, quantise } from './quantiser.js';
import { decodeRans, encodeRans } from './rans.js';
import { NativeResidentCodes } from './resident-codes.js';
import { decodeTokens, encodeTokens, listTokens } from './tokens.js';

export function createCpuKernels(addon: Addon, isa: string): Kernels {
  return createNativeKernels({
    name: 'cpu',
    isa,
    operations: addon,
    describe: (status) => addon.statusText(status),
    keepCodes: () => undefined,
    coding: addon,
  });
}

/** A native backend behind the face that every backend has. */
export function createNativeKernels(backend: NativeBackend): Kernels {
  const addon = backend.operations;
  const ended = (operation: string, status: number) => {
    if (status !== STATUSES.ok) throw nativeFailure(backend, operation, status);
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
    encodeRans: (args) => encodeRans(backend, args),
    decodeRans: (args) => decodeRans(backend, args),
    centreLogits: (args) => centreLogits(backend, args),
    quantise: (args) => quantise(backend, args),
    dequantise: (args) => dequantise(backend, args),
    createLatentDecoder: (spec) => new NativeLatentDecoderHandle(backend, spec),
    encodeTokens: (args) => encodeTokens(backend, args),
    decodeTokens: (args) => decodeTokens(backend, args),
    listTokens: (args) => listTokens(backend, args),
  };
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

function augmentArgs(args: CheckedAugment): NativeAugmentArgs {
  const { images, sizes, views, weights, out, size, scale, shift, threads, resample, round } = args;
  return [
    ...([images, sizes, views, weights, out, size[0], size[1], scale, shift, threads] as const),
    ...([RESAMPLES.indexOf(resample), ROUNDS.indexOf(round)] as const),
  ];
}
