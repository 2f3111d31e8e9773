import type { LabelArray } from './types.js';

/**
 * Raised with every change to the methods below or their arguments, together with kAddonVersion of
 * native/binding/addon.cc: an addon built from other sources is refused instead of failing somewhere later.
 */
export const ADDON_VERSION = 11;

/** The whole native interface: the CPU's operations and access to other backends. */
export interface Addon extends NativeOperations, NativeCoding {
  readonly version: number;
  /** See {@link abiDifference}. */
  readonly abi: unknown;
  info(): AddonInfo;
  statusText(status: number): string;
  /** The calls that decoders lend, for libraries that run them: native/core/label_calls.h. */
  labelCalls(): unknown;
  /** `start` creates the device's context and loads the module's kernels; without it neither is done. */
  openModule(path: string, start: boolean): NativeModule;
}

/** Quantisation and entropy coding, which only the CPU does: native/core/quantiser.h, rans.h and token_labels.h. */
export interface NativeCoding {
  centreLogits(
    logits: Float32Array,
    mean: Float32Array | null,
    classes: number,
    depth: number,
    out: Float32Array,
    threads: number,
  ): number;
  quantise(
    values: Float32Array,
    shifts: Int8Array,
    costs: Float64Array,
    unit: number,
    trellis: number,
    out: Int16Array,
    threads: number,
  ): number;
  dequantise(
    indices: Int16Array,
    shifts: Int8Array,
    unit: number,
    trellis: number,
    out: Float32Array,
    threads: number,
  ): number;
  readonly LatentDecoder: new (
    basis: Float32Array,
    bias: Float32Array,
    classes: number,
    fastest: boolean,
  ) => NativeLatentDecoder;
  decodeRans(
    bytes: Uint8Array,
    entries: Uint32Array,
    rowTables: Uint16Array,
    columns: number,
    trellis: number,
    out: Int16Array,
  ): number;
  encodeRans(
    values: Int16Array,
    frequencies: Uint16Array,
    rowTables: Uint16Array,
    columns: number,
    trellis: number,
    lanes: number,
    out: Uint8Array,
    /** [1], bytes written. */
    length: Uint32Array,
  ): number;
  decodeTokens(
    ids: Uint32Array,
    k: number,
    samples: number,
    ordered: number,
    stages: number,
    counted: boolean,
    codebooks: Float32Array | null,
    scale: Float32Array | null,
    bytes: Uint8Array,
    position: number,
    begins: Uint32Array,
    skip: number,
    labels: Int32Array,
    probabilities: Float32Array,
  ): number;
  encodeTokens(
    names: Uint32Array,
    k: number,
    samples: number,
    ordered: number,
    stages: number,
    counted: boolean,
    counts: Uint32Array,
    ids: Uint32Array,
    logProbs: Float32Array | null,
    indices: Uint16Array | null,
    drawn: Uint32Array,
    out: Uint8Array,
    position: number,
    begins: Uint32Array,
    /** [1], bits written. */
    length: Uint32Array,
  ): number;
  listTokens(
    logits: Float32Array,
    width: number,
    vocabulary: number,
    k: number,
    samples: number,
    uniforms: Float64Array,
    ids: Uint32Array,
    drawn: Uint32Array,
    sums: Float64Array,
    /** [1], labels before the first that is no distribution. */
    listed: Uint32Array,
  ): number;
}

export interface NativeLatentDecoder {
  decode(...args: NativeDecodeLatentsArgs): number;
  decodeAsync(...args: NativeDecodeLatentsArgs): Promise<number>;
  dispose(): void;
}

/** A backend in a shared library. Loaded once per process; `state` and `reason` are current at every call. */
export interface NativeModule {
  readonly state: 'ready' | 'absent' | 'incompatible' | 'no-device' | 'lost';
  readonly reason: string;
  readonly device?: {
    readonly name: string;
    readonly capability: string;
    readonly memoryBytes: number;
  };
  /** Missing if the library does not load or has another version. */
  readonly operations?: NativeOperations & {
    readonly DeviceBytes: new (bytes: Uint8Array) => NativeDeviceBytes;
  };
}

/** Bytes on the device, accepted as codes by calls of the same backend. */
export interface NativeDeviceBytes {
  dispose(): void;
}

/** Operations of every backend. Methods return a status, 0 for success; wrong arguments throw a TypeError. */
export interface NativeOperations {
  project(...args: NativeProjectArgs): number;
  projectAsync(...args: NativeProjectArgs): Promise<number>;
  nearest(...args: NativeNearestArgs): number;
  nearestAsync(...args: NativeNearestArgs): Promise<number>;
  pack(indices: Uint16Array, bits: number, out: Uint8Array, bitOffset: number): number;
  unpack(packed: Uint8Array, bits: number, out: Uint16Array, bitOffset: number): number;
  augment(...args: NativeAugmentArgs): number;
  augmentAsync(...args: NativeAugmentArgs): Promise<number>;
  readonly Encoder: new (...args: NativeEncoderArgs) => NativeEncoder;
  readonly Decoder: new (...args: NativeDecoderArgs) => NativeDecoder;
}

export interface AddonInfo {
  /** Null if SOFTPACK_ISA requests an instruction set that is not available. */
  readonly isa: string | null;
  /** Names separated by spaces, slowest first. */
  readonly availableIsas: string;
  readonly processors: number;
  /** Held by the backend now, in the whole process. */
  readonly memoryBytes: number;
}

export interface NativeEncoder {
  encode(labels: Float32Array, out: Uint8Array, threads: number): number;
  encodeAsync(labels: Float32Array, out: Uint8Array, threads: number): Promise<number>;
  dispose(): void;
}

export interface NativeDecoder {
  /** SoftpackMethod of native/core/backend.h. */
  method(): number;
  bytes(): number;
  decode(...args: NativeDecodeArgs): number;
  decodeAsync(...args: NativeDecodeArgs): Promise<number>;
  decodeKl(...args: NativeDecodeKlArgs): number;
  decodeKlAsync(...args: NativeDecodeKlArgs): Promise<number>;
  /** A number by which a library beside the addon finds the call; the arrays must live until it is withdrawn. */
  lend(...args: NativeLendArgs): number;
  /** The status of the call, -1 if nobody ran it. */
  withdraw(call: number): number;
  dispose(): void;
}

export type NativeProjectArgs = [
  a: Float32Array,
  b: Float32Array,
  out: Float32Array,
  rows: number,
  inner: number,
  columns: number,
  transposeA: boolean,
  transposeB: boolean,
  accumulate: boolean,
  threads: number,
];

export type NativeAugmentArgs = [
  images: readonly Uint8Array[],
  sizes: Uint32Array,
  views: Int32Array,
  weights: Float32Array,
  out: Float32Array,
  height: number,
  width: number,
  scale: Float32Array,
  shift: Float32Array,
  threads: number,
  resample: number,
  round: number,
];

export type NativeNearestArgs = [
  vectors: Float32Array,
  codebook: Float32Array,
  out: Uint16Array,
  width: number,
  threads: number,
];

export type NativeEncoderArgs = [
  projection: Float32Array,
  codebook: Float32Array,
  classes: number,
  latent: number,
  width: number,
  bits: number,
];

export type NativeDecoderArgs = [
  codebooks: Float32Array,
  basis: Float32Array,
  bias: Float32Array | null,
  classes: number,
  latent: number,
  stages: number,
  levels: number,
  width: number,
  codebookStride: number,
  latentStep: number,
  bits: number,
  /** SoftpackHead. */
  head: number,
  headParameter: number,
  /** SoftpackMethod and SoftpackPrecision. */
  method: number,
  precision: number,
  bases: Float32Array | null,
  memoryCap: number,
];

/** SoftpackLabels. */
export type NativeLabels = [
  codes: Uint8Array | NativeDeviceBytes,
  list: Uint32Array | null,
  start: number,
  count: number,
  basePairs: Uint32Array | null,
  baseWeights: Float32Array | null,
];

export type NativeDecodeArgs = [
  ...NativeLabels,
  out: LabelArray,
  /** SoftpackDtype. */
  outType: number,
  threads: number,
];

export type NativeDecodeLatentsArgs = [
  latents: Float32Array,
  tau: number,
  out: LabelArray,
  /** SoftpackDtype. */
  outType: number,
  threads: number,
];

export type NativeLendArgs = [...NativeLabels, tau: number, scale: number, threads: number];

export type NativeDecodeKlArgs = [
  ...NativeLabels,
  logits: Float32Array,
  losses: Float32Array | null,
  gradient: Float32Array | null,
  tau: number,
  scale: number,
  /** SoftpackLoss. */
  loss: number,
  threads: number,
];
