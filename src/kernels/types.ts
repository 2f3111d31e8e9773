import type { AugmentArgs } from './augment-args.js';
import type { LatentDecoder, LatentDecoderSpec } from './latents.js';
import type { CentreLogitsArgs, DequantiseArgs, QuantiseArgs } from './quantiser.js';
import type { DecodeRansArgs, EncodeRansArgs } from './rans.js';
import type { ThreadOptions } from './thread-options.js';
import type {
  DecodeTokensArgs,
  EncodedTokens,
  EncodeTokensArgs,
  ListTokensArgs,
} from './tokens.js';

export type { ThreadOptions };

/**
 * The operations every kernel backend offers, and the arguments they take.
 *
 * All matrices are row-major and dense. All outputs are allocated by the caller; any typed array works,
 * also a view into a larger buffer or one over a SharedArrayBuffer, but no output may overlap an input.
 * Every operation has a synchronous form, for worker threads, and an asynchronous one, for the main thread:
 * do not touch its arrays until it resolves. A wrong argument throws `INVALID_ARGUMENT` naming it.
 *
 * Equal to the byte, or only close:
 * - The `cpu` backend gives the same bytes on every instruction set and for any number of threads, but for the
 *   decode methods `bfloat` and `split`. Every float32 sum has one order: `project` and `basis` products are chains
 *   of fused multiply-adds over ascending `inner` that start at 0, at `out` (accumulate) or at the bias; table rows
 *   are added in stage order; a sum over classes runs in 64 interleaved partial sums that are then added pairwise.
 *   Fixed-point sums are integers.
 * - The `cuda` backend gives the `cpu` backend's bytes, with the same exceptions.
 * - The `reference` accumulates in float64 and rounds once. A `cpu` result differs from it by float32 rounding:
 *   at most (inner + 1) * 2^-24 * sum |a||b| for an element of `project`, and usually a hundredth of that.
 *   Codes agree unless two codewords are nearly as near as each other.
 * - Decode methods agree to their rounding: `table` and `latent` to float32's, `fixed` to 2e-3 of the label.
 * - float16 and bfloat16 output is the float32 output rounded to nearest, ties to even.
 */

/** Output elements of `decode`: float32 values, or float16 or bfloat16 bit patterns in a Uint16Array. */
export type LabelArray = Float32Array | Uint16Array;

/** `out = op(a) op(b)`, or `out += ...` with `accumulate`; op transposes on request. Float32. */
export interface ProjectArgs extends ThreadOptions {
  /** [rows, inner], or [inner, rows] with `transposeA`. */
  readonly a: Float32Array;
  /** [inner, columns], or [columns, inner] with `transposeB`. */
  readonly b: Float32Array;
  /** [rows, columns]. */
  readonly out: Float32Array;
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly accumulate?: boolean;
}

/** For each vector the index of the nearest codeword by squared distance; ties go to the lowest index. */
export interface NearestArgs extends ThreadOptions {
  /** [count, width]. */
  readonly vectors: Float32Array;
  /** [levels, width], 1 <= levels <= 65536. */
  readonly codebook: Float32Array;
  /** [count]. */
  readonly out: Uint16Array;
  readonly width: number;
}

/** Packs `indices` at `bits` each, least significant bit first, starting at bit `bitOffset` of `out`. */
export interface PackArgs {
  readonly indices: Uint16Array;
  readonly bits: number;
  /** Bits outside the packed range keep their value. */
  readonly out: Uint8Array;
  readonly bitOffset?: number;
}

/** The inverse of {@link PackArgs}: fills all of `out`. */
export interface UnpackArgs {
  readonly packed: Uint8Array;
  readonly bits: number;
  readonly out: Uint16Array;
  readonly bitOffset?: number;
}

/**
 * Labels in, packed codes out: h = y P, split into segments of `width`, nearest codeword of each, packed. The codes
 * are those of `project` and `nearest` to the bit.
 */
export interface EncoderSpec {
  readonly classes: number;
  /** P, [classes, latent]; latent is a multiple of width. */
  readonly projection: Float32Array;
  readonly latent: number;
  /** mu, [levels, width], shared by all segments. */
  readonly codebook: Float32Array;
  readonly width: number;
  readonly bits: number;
}

export interface EncodeArgs extends ThreadOptions {
  /** [count, classes]. */
  readonly labels: Float32Array;
  /** count * (latent / width) * bits bits, padded with zero bits to a whole byte. */
  readonly out: Uint8Array;
}

/** An encoder's matrices, copied from the spec and held until disposed. */
export interface Encoder extends Disposable {
  readonly spec: EncoderSpec;
  encode(args: EncodeArgs): void;
  encodeAsync(args: EncodeArgs): Promise<void>;
  dispose(): void;
}

/** Turns the decoded vector v into a distribution. */
export type Head =
  /** y_j = max(v_j, eps) / sum_l max(v_l, eps): equation 9 of the paper. */
  | { readonly kind: 'clamp'; readonly eps: number }
  /** y = softmax(v / tau), where exponents below -87 count as -87: no probability is zero. */
  | { readonly kind: 'softmax'; readonly tau: number }
  /** y = v. */
  | { readonly kind: 'identity' };

/**
 * A decoder in the general form of every dense codec: a sum of looked-up vectors, then a head.
 *
 * Stage s of a label looks up codeword q_s (width floats, at `s * codebookStride + q_s * width` of
 * `codebooks`) and adds it to the latent vector at `s * latentStep`; a prediction may be added too; then
 * v = bias + latent . basis.
 * - VQAE: one shared codebook (codebookStride 0), segments side by side (latentStep = width).
 * - Residual: one codebook per stage (codebookStride = levels * width), all added in place (latentStep 0).
 */
export interface DecoderSpec {
  readonly classes: number;
  /** Length r of the latent vector: (stages - 1) * latentStep + width. */
  readonly latent: number;
  readonly stages: number;
  readonly levels: number;
  readonly width: number;
  readonly codebookStride: number;
  readonly latentStep: number;
  /** Bits per index, 1 to 16; a label is stages * bits bits, and labels follow each other bit by bit. */
  readonly bits: number;
  readonly codebooks: Float32Array;
  /** D or V^T, [latent, classes]. */
  readonly basis: Float32Array;
  /** [classes]; zeros when absent. */
  readonly bias?: Float32Array;
  /**
   * [rows, latent]: base vectors, of which each label adds weight * first + (1 - weight) * second to its latent
   * vector: the prediction of a mixed image. Every call then says which.
   */
  readonly bases?: Float32Array;
  readonly head: Head;
  /** Precision that may be traded for speed if `method` is absent; default `exact`. */
  readonly precision?: Precision;
  /** Decoding method; default: the fastest that `precision` allows. */
  readonly method?: DecodeMethod;
  /** Bytes that tables may take if `method` is absent; default 128 MiB. */
  readonly memoryCap?: number;
}

/**
 * - `exact`: `latent` or `table`, within 2e-6 of float64.
 * - `fast`: `fixed`, within 2e-3; `latent` if its tables would exceed the memory cap.
 * - `fastest`: the fastest method of this processor within 4e-3, so bytes depend on the machine.
 *
 * `exact` and `fast` choose from the spec alone: the bytes of a label depend neither on the machine nor on what else
 * was decoded.
 */
export type Precision = 'exact' | 'fast' | 'fastest';

/**
 * - `latent`: add codewords up in the latent space, then multiply by `basis`.
 * - `table`: multiply every codeword by `basis` once, then add up float32 rows of length `classes`.
 * - `fixed`: the same rows in 16-bit fixed point, scaled so that no sum can overflow.
 * - `bfloat`: as `latent`, both factors rounded to bfloat16: within 4e-3. `UNSUPPORTED` if the processor has no
 *   unit for it (AVX-512 BF16 or AMX).
 * - `split`: as `latent`, each factor the sum of two bfloat16: within 1e-5. Needs that unit too; meant for AMX.
 */
export type DecodeMethod = 'latent' | 'table' | 'fixed' | 'bfloat' | 'split';

/** Packed codes that a backend keeps ready, e.g. a whole epoch's in GPU memory, until disposed. */
export interface ResidentCodes extends Disposable {
  /** The array they came from, not to be changed meanwhile: other backends decode from it. */
  readonly host: Uint8Array;
  dispose(): void;
}

export interface LabelsArgs extends ThreadOptions {
  /** Packed codes; label i starts at bit i * stages * bits. */
  readonly codes: Uint8Array | ResidentCodes;
  /** Which labels: `count` from `start` on, or any list, repeats allowed. */
  readonly labels: { readonly start: number; readonly count: number } | Uint32Array;
  /** For each label, in output order; required if the spec has bases, and only then. */
  readonly prediction?: Prediction;
}

export interface Prediction {
  /** [labels, 2] rows of the bases. */
  readonly pairs: Uint32Array;
  /** [labels]: lambda, the first row's weight. */
  readonly weights: Float32Array;
}

export interface DecodeArgs extends LabelsArgs {
  /** [labels, classes]. */
  readonly out: LabelArray;
  /** Contents of a Uint16Array `out`; default float16. */
  readonly outType?: 'float16' | 'bfloat16';
}

/**
 * Loss of a student against labels that are decoded and forgotten: with p = softmax(logits / tau), KL(y || p), or
 * the cross-entropy -sum y log p, which differs by a constant of the label and is cheaper with a clamp head.
 */
export interface DecodeKlArgs extends LabelsArgs {
  /** [labels, classes], of the student. */
  readonly logits: Float32Array;
  /** Temperature of the student. */
  readonly tau: number;
  /** Default `kl`. */
  readonly loss?: 'kl' | 'cross-entropy';
  /** [labels]. */
  readonly losses?: Float32Array;
  /** [labels, classes]: scale * (p - y) / tau; may be `logits` itself. */
  readonly gradient?: Float32Array;
  /** Default 1. */
  readonly scale?: number;
}

/** Runs a call by its number, for which `kernels` has the decoder. */
export type LentRun<T> = (call: number, kernels: 'cpu' | 'cuda') => T;

/** A call that an operation outside of this library runs; `tau` and `scale` are those of `decodeKl`, 1 if absent. */
export interface LentCall extends LabelsArgs {
  readonly tau?: number;
  readonly scale?: number;
}

/**
 * A decoder's tables, copied from the spec and held until disposed. An index beyond the codebook is an
 * `INVALID_ARGUMENT` error naming `codes`, never a read; `out` is then partly written.
 */
export interface Decoder extends Disposable {
  readonly spec: DecoderSpec;
  /** The one in use. */
  readonly method: DecodeMethod;
  decode(args: DecodeArgs): void;
  decodeAsync(args: DecodeArgs): Promise<void>;
  /** The head must be clamp or softmax. */
  decodeKl(args: DecodeKlArgs): void;
  decodeKlAsync(args: DecodeKlArgs): Promise<void>;
  /**
   * Calls `run` with the number under which native/core/label_calls.h has this call meanwhile, and returns what it
   * returns; throws what `decode` would if the call was run and failed. Absent from decoders that are not native.
   *
   * @internal
   */
  lend?<T>(args: LentCall, run: LentRun<T>): T;
  dispose(): void;
}

export interface Kernels {
  /** `cpu` (the addon), `cuda` (a GPU) or `reference` (TypeScript). */
  readonly name: 'cpu' | 'cuda' | 'reference';
  /** The instruction set in use, e.g. `avx2`; a GPU's compute capability; `javascript` for the reference. */
  readonly isa: string;
  project(args: ProjectArgs): void;
  projectAsync(args: ProjectArgs): Promise<void>;
  nearest(args: NearestArgs): void;
  nearestAsync(args: NearestArgs): Promise<void>;
  pack(args: PackArgs): void;
  unpack(args: UnpackArgs): void;
  createEncoder(spec: EncoderSpec): Encoder;
  createDecoder(spec: DecoderSpec): Decoder;
  /** Codes kept where this backend decodes: copied to the GPU once, for `cuda`; elsewhere the array itself. */
  residentCodes(codes: Uint8Array): ResidentCodes;
  augment(args: AugmentArgs): void;
  augmentAsync(args: AugmentArgs): Promise<void>;
  /**
   * On the CPU, whatever the backend; the same bytes everywhere.
   *
   * @internal
   */
  encodeRans(args: EncodeRansArgs): Uint8Array;
  /**
   * Fills `out`. `INVALID_ARGUMENT` naming `codes` if the bytes are no stream of this model; `out` is then partly
   * written.
   *
   * @internal
   */
  decodeRans(args: DecodeRansArgs): void;
  /**
   * On the CPU, as those that follow: the same numbers everywhere.
   *
   * @internal
   */
  centreLogits(args: CentreLogitsArgs): void;
  /** @internal */
  quantise(args: QuantiseArgs): void;
  /** @internal */
  dequantise(args: DequantiseArgs): void;
  /** @internal */
  createLatentDecoder(spec: LatentDecoderSpec): LatentDecoder;
  /**
   * On the CPU, whatever the backend; the same bytes everywhere. `INVALID_ARGUMENT` naming `ids` for what are no labels.
   *
   * @internal
   */
  encodeTokens(args: EncodeTokensArgs): EncodedTokens;
  /**
   * Fills `labels` and `probabilities`, the same everywhere. `INVALID_ARGUMENT` naming `codes` if the bytes are no labels
   * of this model; outputs are then partly written.
   *
   * @internal
   */
  decodeTokens(args: DecodeTokensArgs): void;
  /**
   * On the CPU, the same ids and sums everywhere. Returns the number of labels up to the first that is no distribution: one
   * with NaN or +infinity, or with -infinity alone.
   *
   * @internal
   */
  listTokens(args: ListTokensArgs): number;
}
