import type { AugmentationBatch } from '../augment/record.js';
import type { CodecParts, CodeLayout } from '../core/codec-parts.js';
import type { LabelArray, Precision, ThreadOptions } from '../kernels/types.js';

/** What both encoder and decoder know of some labels at no cost in bytes. */
export interface LabelContext {
  readonly epoch: number;
  /** Global sample ids of the labels. */
  readonly samples: { readonly start: number; readonly count: number } | Uint32Array;
  /** Crop, flip and mix of each label, derived from the archive's seed; absent for labels without a record. */
  readonly augmentation?: AugmentationBatch;
}

/** How labels may be decoded; of concern only to codecs whose decoder has more ways than one. */
export interface DecodeOptions {
  /** What may be traded for speed; default `exact`. `fast` is within 2e-3, with the same bytes on every machine. */
  readonly precision?: Precision;
  /** Bytes that the decoder's tables may take, in each thread that decodes. */
  readonly memoryCap?: number;
}

export interface DecodeLabelsArgs extends ThreadOptions {
  /** One row of codes, whole. */
  readonly row: Uint8Array;
  /** Positions in the row, that is sample ids relative to the row's first sample. */
  readonly labels: { readonly start: number; readonly count: number } | Uint32Array;
  readonly context: LabelContext;
  /** [labels, classes] probabilities: float32, or float16 bit patterns in a Uint16Array. */
  readonly out: LabelArray;
}

/**
 * A way to store soft labels. Immutable once trained: a codec decodes what it encoded, for ever.
 *
 * Labels go in as logits z, [count, classes] float32, so that a codec may work in logits or in
 * probabilities softmax(z / tau), and come out as probabilities at the temperature in its config.
 */
export interface Codec extends Disposable {
  readonly name: string;
  readonly classes: number;
  /** Temperature of the decoded probabilities. */
  readonly tau: number;
  readonly layout: CodeLayout;
  /** How a label comes from its bits and the codec's tensors, in words, for readers without this library. */
  readonly decoding: string;
  /**
   * Codes of `count` consecutive labels. For a `fixed` layout the bytes of several calls may be joined where
   * each call but the last held a multiple of 8 labels.
   */
  encode(logits: Float32Array, context: LabelContext, options?: ThreadOptions): Promise<Uint8Array>;
  /** Synchronous, for worker threads. */
  decode(args: DecodeLabelsArgs): void;
  decodeAsync(args: DecodeLabelsArgs): Promise<void>;
  /** What an archive keeps; with `encoder` also what is needed to encode more labels. */
  parts(options?: { readonly encoder?: boolean }): CodecParts;
  dispose(): void;
}

/** What {@link LossCodec.decodeKl} takes beside the labels to decode; see `DecodeKlArgs` of the kernels. */
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

/** A codec whose labels can be decoded inside the loss, never to be seen whole. */
export interface LossCodec extends Codec {
  decodeKl(args: DecodeLabelsKlArgs): void;
}

export function isLossCodec(codec: Codec): codec is LossCodec {
  return 'decodeKl' in codec;
}
