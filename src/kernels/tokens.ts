/**
 * Labels of language models' tokens as bits: docs/tokens.md has the format. The bits are integers' alone; probabilities
 * of decoded labels are float64 sums in a fixed order, rounded once, so all kernels give the same.
 */

/** Codewords of a stage: an index is a byte. */
export const STAGE_CODES = 256;
/** Labels between two offsets: those before one in its group are decoded to find it. Groups are decoded side by side. */
export const TOKEN_GROUP = 64;

/** Limits of the format. */
export const TOKEN_LIMITS = {
  vocabulary: 2 ** 22,
  k: 1024,
  samples: 256,
  ordered: 32,
  stages: 16,
} as const;

/** What encoder and decoder of labels must share. */
export interface TokenLabelModel {
  /** Most ids listed per label. */
  readonly k: number;
  /** Ids drawn from the tail per label. */
  readonly samples: number;
  /** [vocabulary], the id of each name. */
  readonly ids: Uint32Array;
  /** [vocabulary], the name of each id. */
  readonly names: Uint32Array;
  /** Samples are a set and how often each id occurs in it; default: a multiset. */
  readonly counted?: boolean;
  /** Absent: a float16 log-probability per id. */
  readonly values?: TokenValues;
}

/** Values by residual vector quantisation: log-probabilities of the ordered ids, then of what the others have together. */
export interface TokenValues {
  readonly ordered: number;
  readonly stages: number;
  /** [stages, 256, width]; width is `ordered`, and one more if k is larger. */
  readonly codebooks: Float32Array;
  /** [width], by which sums of codewords are divided. */
  readonly scale: Float32Array;
}

export interface DecodeTokensArgs {
  readonly model: TokenLabelModel;
  readonly bytes: Uint8Array;
  /** Bit of the sequence's first label. */
  readonly position: number;
  /** Bits from there to each group of 64 labels that is read. */
  readonly begins: Uint32Array;
  /** Labels of the first group that are passed over, at most 63. */
  readonly skip: number;
  /** [labels, k + samples]: ids, 0 behind the last one. */
  readonly labels: Int32Array;
  /** [labels, k + samples], 0 behind the last one. */
  readonly probabilities: Float32Array;
}

export interface EncodeTokensArgs {
  readonly model: TokenLabelModel;
  /** [labels]: ids of each; k with quantised values. */
  readonly counts: Uint32Array;
  /** [labels, k], the most probable first. */
  readonly ids: Uint32Array;
  /** [labels, k]; only without quantised values. */
  readonly logProbs?: Float32Array;
  /** [stages, labels], with quantised values. */
  readonly indices?: Uint16Array;
  /** [labels, samples], in any order. */
  readonly drawn: Uint32Array;
  /** Bits to leave free before the first label. */
  readonly position: number;
}

export interface EncodedTokens {
  /** Zero bits up to `position`, labels, zeros up to a whole byte. */
  readonly bytes: Uint8Array;
  /** Bits from `position` to labels 64, 128, ... */
  readonly begins: Uint32Array;
}

export interface ListTokensArgs {
  /** [labels, width]; columns from `vocabulary` on pad. */
  readonly logits: Float32Array;
  readonly width: number;
  readonly vocabulary: number;
  /** Most probable ids to list, at most the vocabulary. */
  readonly k: number;
  /** Ids to draw from the others per label. */
  readonly samples: number;
  /** [labels, samples], in [0, 1), ascending in each label. */
  readonly uniforms: Float64Array;
  /** [labels, k]: the most probable first, of equal ones the lowest ids. */
  readonly ids: Uint32Array;
  /** [labels, samples]: one for each uniform; the least probable listed id where nothing is left. */
  readonly drawn: Uint32Array;
  /** [labels]: sums of exp(logit - largest logit). */
  readonly sums: Float64Array;
}

/** Logits whose weights are summed together, in so many sums side by side that are then added pairwise. */
export const TOKEN_BLOCK = 64;
export const TOKEN_SUMS = 8;

export function vocabularyOf({ ids }: TokenLabelModel): number {
  return ids.length;
}

export function tokenGroups(labels: number): number {
  return Math.ceil(labels / TOKEN_GROUP);
}

export function valueWidth(k: number, ordered: number): number {
  return ordered + (k > ordered ? 1 : 0);
}

/** Bits that labels with `ids` ids in all take at most: TokenLabelBits of native/core/token_labels.h. */
export function tokenCapacity(
  { samples, values }: TokenLabelModel,
  labels: number,
  ids: number,
): number {
  const { ordered = 0, stages = 0 } = values ?? {};
  return labels * (32 + 32 * ordered + 8 * stages + 32 * samples) + ids * 39;
}
