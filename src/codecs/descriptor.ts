import type { FieldChecker } from '../core/check.js';
import type { CodecParts, CodecShape } from '../core/codec-parts.js';
import type { Kernels } from '../kernels/types.js';
import type { ViewUse } from '../labels/views.js';
import type { TrainingCheckpoints } from './checkpoints.js';
import type { Codec, DecodeOptions, LabelContext } from './codec.js';
import type { VqaeTrainingOptions } from './vqae/options.js';
import type { VqaeTraining } from './vqae/trainer.js';

/** A choice with codec and parameters all given. */
export interface NamedChoice {
  readonly name: string;
}

/** A choice as a caller makes it: without a name it is for the first codec of the registry. */
export interface AnyChoice {
  readonly name?: string;
}

/** A size given as the least compression of the codes relative to float16 labels. */
export interface RatioChoice {
  readonly ratio: number;
}

/** Labels to store, as far as sizes depend on them. */
export interface LabelCounts {
  readonly classes: number;
  readonly samples: number;
  readonly epochs: number;
}

/** A parameter of a codec. */
export interface CodecParameter {
  /** As in the choice; on the command line with two dashes in front. */
  readonly name: string;
  /** For help and docs, without the codec's name. */
  readonly words: string;
  /**
   * `size`: all of them are given, or a ratio instead. `goal`: one is given, or a ratio instead; any positive number. `form`:
   * may be left out.
   */
  readonly kind: 'size' | 'goal' | 'form';
  /** Values of a form; absent for whole numbers. */
  readonly values?: readonly string[];
  /** Not an option of the command line. */
  readonly libraryOnly?: boolean;
}

/** A codec's row of the table in docs/codecs.md, and its decoder in NumPy. */
export interface CodecDocs {
  /** Content of a label. */
  readonly label: string;
  /** Bits per label, a formula in the codec's parameters and C, the number of classes. */
  readonly bits: string;
  /** Tensors that are stored besides, in bytes. */
  readonly besides: string;
  /**
   * Body of a Python function of row, n, c, t, C that returns [n, C] labels, or an expression; `undefined` if
   * there are no codes to decode. It may use the helpers of docs/codecs.md.
   */
  readonly numpy?: string;
}

/** Labels that a choice may depend on. */
export interface SizeContext {
  readonly classes: number;
  /** Labels to store, which limit what a codebook can learn. */
  readonly labels: number;
}

/** Labels to store, as far as it depends on them what a codec learns from. */
export interface ScanContext extends LabelCounts {
  /** Whether views have parts of other images. */
  readonly mixed: boolean;
}

/** Labels and settings that a choice must agree with. */
export interface CheckContext extends SizeContext {
  readonly samples: number;
  readonly tau: number;
  readonly eps: number;
  /** Labels that training sees at most; default: all. */
  readonly trainingLabels?: number;
  readonly training?: VqaeTrainingOptions;
  /** Bytes that training may take; default: the memory of the machine. */
  readonly memory?: number;
}

/** Asks for the largest size whose archive takes at most `budget` bytes. */
export interface ByteRequest<Sized extends NamedChoice> {
  readonly labels: LabelCounts;
  readonly budget: number;
  /** Size of the whole archive. */
  bytesOf(choice: Sized): number;
  /** Values of parameters that are no sizes. */
  readonly form?: Partial<Omit<Sized, 'name'>>;
}

/** Labels at a temperature: `share` of all epochs have it. */
export interface LabelTemperature {
  readonly tau: number;
  readonly share: number;
}

/** Takes logits [labels, classes], which are its own from then on, and what is known of these labels. */
export type LogitsVisitor = (logits: Float32Array, context: LabelContext) => void | Promise<void>;

export interface CodecTraining {
  readonly classes: number;
  /** Number of samples, and of labels in all, to store. */
  readonly samples: number;
  readonly labels: number;
  readonly tau: number;
  /** Temperatures that labels will be decoded at, if not `tau` alone. */
  readonly temperatures?: readonly LabelTemperature[];
  /** Floor of the clamp head. */
  readonly eps: number;
  /** Probabilities [count, classes] at `tau` to learn from; asked for once, and only by codecs that learn. */
  readonly draw: () => Promise<Float32Array>;
  /** Shows every label that will be stored, for codecs that need them all. */
  readonly scan: (
    visit: (firstSample: number, probabilities: Float32Array) => void,
  ) => Promise<void>;
  /** Shows the labels of `draw` as logits, some at a time; or at most `heldOut` of another draw. */
  readonly drawLogits: (visit: LogitsVisitor, heldOut?: number) => Promise<void>;
  /** Shows every label that will be stored as logits. */
  readonly scanLogits: (visit: LogitsVisitor) => Promise<void>;
  readonly kernels: Kernels;
  readonly training?: VqaeTrainingOptions;
  readonly checkpoints?: TrainingCheckpoints;
  readonly signal?: AbortSignal;
  /** `error`: share of the labels' variance, if it is known. */
  readonly onProgress?: (done: number, total: number, error?: number) => void;
}

/** What a codec reached on labels of a draw that it did not learn from (unless it learnt from all that there are). */
export interface Pilot {
  /** Of a stored label: codes and tensors. */
  readonly bitsPerLabel: number;
  /** Mean KL divergence of decoded labels at their temperatures, nats. */
  readonly kl: number;
  /** Mean squared error of a label's centred logits, summed over classes. */
  readonly distortion: number;
  /**
   * Least bits per label at this distortion if labels were independent Gaussian vectors of the same covariance: the
   * reverse water-filling of its eigenvalues. A codec that knows more of its labels may need fewer.
   */
  readonly gaussianBits: number;
}

export interface TrainedCodec {
  readonly codec: Codec;
  /** Only of codecs that find their settings by one. */
  readonly pilot?: Pilot;
  /** Only of codecs that are trained by steps. */
  readonly training?: VqaeTraining;
}

/**
 * Everything the rest of softpack knows about one codec. A codec is added by writing its descriptor and listing
 * it in registry.ts.
 *
 * @typeParam Sized its choice with all parameters. @typeParam Choice its choice as callers make it.
 */
export interface CodecDescriptor<
  Sized extends NamedChoice = NamedChoice,
  Choice extends AnyChoice = AnyChoice,
> {
  readonly name: Sized['name'];
  /**
   * Raised by one whenever equal labels and choices give other codes or tensors: results that were kept are then not taken
   * for those of this codec. Default 1.
   */
  readonly revision?: number;
  readonly parameters: readonly CodecParameter[];
  readonly docs: CodecDocs;
  /** Stores few bits per label: where a size is asked for, it is worth weighing to store fewer epochs. */
  readonly weighsEpochs?: boolean;
  /** Trained by steps, whose number is an option. */
  readonly steps?: boolean;
  /** A label depends on its sample's id alone, so that rows cannot be batches of other samples (pruning). */
  readonly perSample?: boolean;
  /** Labels are predicted from what is mixed into their views, where that is recorded; if `shown`, also from what they show. */
  readonly usesViews?: ViewUse;
  /** Whether its codes hold logits, which give labels at any temperature; default no. */
  anyTau?(choice: Sized): boolean;
  /** Fills in parameters: those of the ratio asked for, and defaults. `INVALID_ARGUMENT` if none reach the ratio. */
  sized(choice: Choice, context: SizeContext): Sized;
  /** Reports every parameter that is out of range. */
  check(choice: Sized, context: CheckContext, checker: FieldChecker): void;
  /** Whether training goes through all labels, if they are more than it draws; default: draws are all it sees. */
  scans?(choice: Sized, labels: ScanContext): boolean;
  /** Labels that training needs; default: one. */
  labelsNeeded?(choice: Sized): number;
  /** Bytes of memory that training takes besides its labels. */
  trainingBytes?(choice: Sized, context: SizeContext): number;
  /** The largest size within a budget of bytes; absent for codecs whose size cannot be chosen. */
  forBytes?(request: ByteRequest<Sized>): Sized | undefined;
  /** Bits per label and stored tensors, known before training. */
  shape(choice: Sized, labels: Pick<LabelCounts, 'classes' | 'samples'>): CodecShape;
  train(choice: Sized, context: CodecTraining): Promise<TrainedCodec>;
  load(parts: CodecParts, kernels: Kernels, options: DecodeOptions): Codec;
  /** Bytes by the paper's formula (supplement, S11 to S17), if it has one: no container, no metadata. */
  paperBytes?(choice: Sized, set: PaperLabels): number;
}

/** A set of soft labels as the paper's formulas count them. */
export interface PaperLabels {
  /** C. */
  readonly classes: number;
  /** IPC * C * EPOCHS. */
  readonly labels: number;
}
