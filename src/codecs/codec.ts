import { argument } from '../core/check.js';
import type { CodecParts, CodeLayout, SampleBlockOf } from '../core/codec-parts.js';
import type { SampleRange } from '../core/samples.js';
import { SoftpackError } from '../errors.js';
import type { LabelArray, LentCall, LentRun, Precision, ThreadOptions } from '../kernels/types.js';
import type { LabelViews, ViewUse } from '../labels/views.js';

/** Facts about the labels that encoder and decoder both know, at no cost in bytes. */
export interface LabelContext {
  readonly epoch: number;
  /** Global sample ids of the labels. */
  readonly samples: SampleRange;
  /** Given to codecs that use views; absent if the archive has no record of them. */
  readonly augmentation?: LabelViews;
  /**
   * Side data of these samples and of those mixed in, for codecs that keep them in blocks and were loaded without them
   * (`LabelArchive.sampleBlocks`).
   */
  readonly sampleBlocks?: SampleBlockOf;
}

/** Decoding options, only used by codecs with several decoding methods. */
export interface DecodeOptions {
  /** Precision to trade for speed; default `exact`. `fast` is within 2e-3, with the same bytes on every machine. */
  readonly precision?: Precision;
  /** Bytes that the decoder's tables may take, in each thread that decodes. */
  readonly memoryCap?: number;
}

export interface DecodeLabelsArgs extends ThreadOptions {
  /** One row of codes, whole. */
  readonly row: Uint8Array;
  /** Positions in the row, that is sample ids relative to the row's first sample. */
  readonly labels: SampleRange;
  readonly context: LabelContext;
  /** Temperature of the labels; default the codec's own. `UNSUPPORTED` for another one unless the codec has `anyTau`. */
  readonly tau?: number;
  /** [labels, classes] probabilities: float32, or float16 bit patterns in a Uint16Array. */
  readonly out: LabelArray;
}

/**
 * A way to store soft labels. Immutable once trained: any version must be able to decode what an earlier one
 * encoded.
 *
 * Input: logits z, [count, classes] float32, so that a codec may work in logits or in probabilities
 * softmax(z / tau). Output: probabilities at the temperature in its config, or at any if `anyTau`.
 */
export interface Codec extends Disposable {
  readonly name: string;
  readonly classes: number;
  /** Temperature of the decoded probabilities. */
  readonly tau: number;
  /** Whether the codes hold logits, which give labels at any temperature. */
  readonly anyTau: boolean;
  /**
   * Whether labels depend on what is mixed into their views: encoding and decoding need `context.augmentation`; if `shown`,
   * also its `placesIn`.
   */
  readonly usesViews?: ViewUse;
  /** Whether it has data of every sample, so that it encodes labels of no others. */
  readonly knowsSamples?: boolean;
  readonly layout: CodeLayout;
  /** Decoding of a label from its bits and the codec's tensors, in words, for readers without this library. */
  readonly decoding: string;
  /**
   * Codes of `count` consecutive labels. For a `fixed` layout the bytes of several calls may be joined if
   * each call but the last held a multiple of 8 labels.
   */
  encode(logits: Float32Array, context: LabelContext, options?: ThreadOptions): Promise<Uint8Array>;
  /** Synchronous, for worker threads. */
  decode(args: DecodeLabelsArgs): void;
  decodeAsync(args: DecodeLabelsArgs): Promise<void>;
  /** The parts that an archive keeps; with `encoder` also those needed to encode more labels. */
  parts(options?: { readonly encoder?: boolean }): CodecParts;
  dispose(): void;
}

/** Codes of some labels, where they lie in the row of their epoch. */
export interface PackedCodes {
  /** All codes of the epoch, perhaps over shared memory; not to be written to. */
  readonly row: Uint8Array;
  /** [batch], positions in the row. */
  readonly labels: Uint32Array;
  /** Part of the archive whose codec they are of; default the first. */
  readonly part?: number;
  /** Temperature of the labels. */
  readonly tau?: number;
}

/** Arguments of {@link LossCodec.decodeKl}; see `DecodeKlArgs` of the kernels. */
export interface DecodeLabelsKlArgs
  extends Pick<DecodeLabelsArgs, 'row' | 'labels' | 'context' | 'threads'> {
  /** [labels, classes], of the student. */
  readonly logits: Float32Array;
  /** Temperature of the student. */
  readonly tau: number;
  /** [labels], KL(y || softmax(logits / tau)). */
  readonly losses?: Float32Array;
  /** [labels, classes], scale times the gradient of each label's loss. */
  readonly gradient?: Float32Array;
  readonly scale?: number;
}

/** Labels that an operation of TensorFlow decodes; see `LentCall` of the kernels. */
export interface LendLabelsArgs
  extends Pick<DecodeLabelsArgs, 'row' | 'labels' | 'threads'>,
    Pick<LentCall, 'tau' | 'scale'> {}

/** Calls `run` with the number of a call, and returns what it returns; `lend` of a decoder of the kernels. */
export type Lender = <T>(args: LendLabelsArgs, run: LentRun<T>) => T;

/** A codec whose labels can be decoded inside the loss, without materialising them. */
export interface LossCodec extends Codec {
  decodeKl(args: DecodeLabelsKlArgs): void;
  /**
   * `lend` of its decoder; undefined if that has none.
   *
   * @internal
   */
  lender(): Lender | undefined;
}

export function isLossCodec(codec: Codec): codec is LossCodec {
  return 'decodeKl' in codec;
}

/** The temperature to decode at; `UNSUPPORTED` unless the codec has labels of it, `INVALID_ARGUMENT` unless it is positive. */
export function decodingTau(
  codec: Pick<Codec, 'name' | 'tau' | 'anyTau'>,
  { tau = codec.tau }: Pick<DecodeLabelsArgs, 'tau'>,
): number {
  argument.positive(tau, 'tau');
  if (tau === codec.tau || codec.anyTau) return tau;
  throw new SoftpackError('UNSUPPORTED', `codec ${codec.name} stores labels of one temperature`, {
    field: 'tau',
    expected: `${codec.tau}, or a codec that stores logits`,
    found: tau,
  });
}
