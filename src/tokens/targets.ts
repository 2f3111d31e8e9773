/** What a label says of the tokens that it does not list. */
export type TokenTail =
  /** Nothing: what is listed is renormalised, as most exporters of top-k labels do. */
  | { readonly kind: 'zero' }
  /** One bucket: the student's own mass outside is compared with the teacher's, its shape is not taught. */
  | { readonly kind: 'ghost' }
  /** The rest is spread evenly. */
  | { readonly kind: 'uniform' }
  /** The rest is spread like `prior`, [vocabulary], of tokens that are not listed. */
  | { readonly kind: 'prior'; readonly prior: Float32Array }
  /** Entries include ids sampled from the tail with their weights: together an unbiased label. */
  | { readonly kind: 'sampled' };

/** Positions of a text and what follows each. */
export interface TokenPositions {
  /** Tokens that the teacher knows. */
  readonly vocabulary: number;
  readonly positions: number;
  /**
   * [positions]: the token that follows in the text, which the logits of the position predict; -1 where there is none or
   * it is not known.
   */
  readonly next: Int32Array;
  /** [positions]: 1 for positions that count. Default: those whose next token is known. */
  readonly counts?: Uint8Array;
}

/** Labels that list a few tokens per position. */
export interface ListedTargets extends TokenPositions {
  readonly kind: 'listed';
  /** Entries per position; shorter labels are filled up with probability 0. */
  readonly width: number;
  /** [positions, width], each id at most once per position. */
  readonly ids: Int32Array;
  /** [positions, width]: probabilities at temperature 1, samples of the tail with their weights. */
  readonly probabilities: Float32Array;
  readonly tail: TokenTail;
}

/** Hidden states of some positions, behind the teacher's last norm; its output matrix makes logits of them. */
export interface HiddenStates extends TokenPositions {
  readonly kind: 'hidden';
  readonly width: number;
  /** [positions, width]. */
  readonly hidden: Float32Array;
  /** Corrections of a few logits per position, which are stored beside some hidden states. */
  readonly exact?: ExactLogits;
}

/** What is added, at temperature 1, to a few logits of each position that a hidden state gives. */
export interface ExactLogits {
  /** Entries per position. */
  readonly width: number;
  /** [positions, width], each id at most once per position but for entries without use, whose correction is 0. */
  readonly ids: Int32Array;
  /** [positions, width]. */
  readonly corrections: Float32Array;
}
