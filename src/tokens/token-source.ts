/** A few entries per label, of ids at most once each. */
export interface SparseRows {
  readonly kind: 'sparse';
  /** Entries of label i are those from `offsets[i]` to `offsets[i + 1]`, the most probable first. */
  readonly offsets: Uint32Array;
  readonly ids: Uint32Array;
  /** Natural logarithms of probabilities over the whole vocabulary. */
  readonly logProbs: Float32Array;
}

/** A number for every id: `logits`, up to a constant per label; or for every dimension: `hidden`. */
export interface DenseRows {
  readonly kind: 'logits' | 'hidden';
  readonly width: number;
  /** [count, width], read when it is asked for. */
  read(start: number, count: number): Promise<Float32Array>;
}

/** A text and a teacher's labels of some of its positions. */
export interface TokenSequence {
  /** For error messages: the file, and where in it. */
  readonly name: string;
  /** Ids of the text; absent if the source does not have it. */
  readonly tokens?: Int32Array;
  /** Label i is the distribution of the token after position `first + i`. */
  readonly first: number;
  /** Labels. */
  readonly rows: number;
  /** 1 for labels to train on, one per label; absent: all of them. */
  readonly mask?: Uint8Array;
  readonly labels: SparseRows | DenseRows;
}

/** A teacher's labels of texts, one sequence at a time. */
export interface TokenSource {
  /** Ids are below this. */
  readonly vocabulary: number;
  /** In the same order each time; a sequence can be read until the next one is asked for. */
  sequences(signal?: AbortSignal): AsyncIterable<TokenSequence>;
}
