import { throwIfAborted } from '../errors.js';
import type { TokenSequence, TokenSource } from './token-source.js';

/** Memory for sequences that need not be asked for again. */
const KEPT_BYTES = 2 ** 26;

export interface RememberedLimits {
  /** Dense labels, beyond which their texts are not kept: no one lists all of them before they are encoded. */
  readonly dense: number;
  /** Memory for what is kept. Default: 64 MiB. */
  readonly bytes?: number;
}

/**
 * A source that keeps what its first pass gives, if that fits: what a few ids per label say is then parsed once. Of dense
 * labels, which are read when they are asked for, texts alone are kept.
 */
export class RememberedSource implements TokenSource {
  readonly vocabulary: number;
  readonly #source: TokenSource;
  readonly #limits: RememberedLimits;
  /** Of a whole pass; undefined if there was none yet, or it does not fit. */
  #kept: readonly TokenSequence[] | undefined;
  #fits = true;

  /** The source itself, if it is such a one. */
  static of(source: TokenSource, limits: RememberedLimits): RememberedSource {
    return source instanceof RememberedSource ? source : new RememberedSource(source, limits);
  }

  constructor(source: TokenSource, limits: RememberedLimits) {
    this.vocabulary = source.vocabulary;
    this.#source = source;
    this.#limits = limits;
  }

  sequences(signal?: AbortSignal): AsyncIterable<TokenSequence> {
    return this.#told(new Map(), signal);
  }

  /** The same, of whose sequences those in `listed` are not read. */
  with(listed: ReadonlyMap<number, unknown>): TokenSource {
    const { vocabulary } = this;
    return { vocabulary, sequences: (signal) => this.#told(listed, signal) };
  }

  #told(listed: ReadonlyMap<number, unknown>, signal?: AbortSignal): AsyncIterable<TokenSequence> {
    const kept = this.#kept;
    const enough = kept?.every(
      ({ labels, rows }, i) => labels.kind === 'sparse' || rows === 0 || listed.has(i),
    );
    if (kept !== undefined && enough) return fromMemory(kept, signal);
    return this.#fits && kept === undefined ? this.#keep(signal) : this.#source.sequences(signal);
  }

  async *#keep(signal?: AbortSignal): AsyncGenerator<TokenSequence, void, undefined> {
    const { dense: mostDense, bytes: mostBytes = KEPT_BYTES } = this.#limits;
    const kept: TokenSequence[] = [];
    let [bytes, dense] = [0, 0];
    for await (const own of this.#source.sequences(signal)) {
      if (this.#fits) {
        bytes += bytesOf(own);
        if (own.labels.kind !== 'sparse') dense += own.rows;
        this.#fits = bytes <= mostBytes && dense <= mostDense;
        if (this.#fits) kept.push(copyOf(own));
        else kept.length = 0;
      }
      yield own;
    }
    if (this.#fits) this.#kept = kept;
  }
}

async function* fromMemory(
  kept: readonly TokenSequence[],
  signal?: AbortSignal,
): AsyncGenerator<TokenSequence, void, undefined> {
  for (const own of kept) {
    throwIfAborted(signal);
    yield own;
  }
}

/** What an object takes beside its numbers. */
const OBJECT_BYTES = 512;

function bytesOf({ tokens, mask, labels, name }: TokenSequence): number {
  const text = (tokens?.byteLength ?? 0) + (mask?.byteLength ?? 0) + 2 * name.length;
  if (labels.kind !== 'sparse') return OBJECT_BYTES + text;
  const { offsets, ids, logProbs } = labels;
  return OBJECT_BYTES + text + offsets.byteLength + ids.byteLength + logProbs.byteLength;
}

/** A source may use its arrays again, or give parts of much larger ones. */
function copyOf(own: TokenSequence): TokenSequence {
  const { tokens, mask, labels } = own;
  return {
    ...own,
    ...(tokens === undefined ? {} : { tokens: tokens.slice() }),
    ...(mask === undefined ? {} : { mask: mask.slice() }),
    labels:
      labels.kind === 'sparse'
        ? {
            kind: labels.kind,
            offsets: labels.offsets.slice(),
            ids: labels.ids.slice(),
            logProbs: labels.logProbs.slice(),
          }
        : labels,
  };
}
