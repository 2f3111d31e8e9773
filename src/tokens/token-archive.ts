import type { LabelArchive } from '../archive/archive.js';
import { openArchive } from '../archive/archive.js';
import { SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { ByteStore } from '../store/byte-store.js';
import { locateLabels, type SequenceHead } from './sequence-block.js';
import type { TextFormat } from './sequence-text.js';
import { type LabelRange, StoredSequences, type TokenText } from './stored-sequences.js';
import type { ListedTargets } from './targets.js';
import type { LabelIds } from './text-code.js';
import { type DecodedLabels, TOKEN_CODEC, TokenCodec } from './token-codec.js';

/** Labels of some positions of a sequence, as `tokenLoss` reads them. */
export interface TokenLabels extends ListedTargets {
  readonly counts: Uint8Array;
  /** Position in the text of the first label. */
  readonly first: number;
}

/** A finished archive of a teacher's labels of texts, open for reading. */
export interface TokenArchive extends AsyncDisposable {
  readonly vocabulary: number;
  readonly sequences: number;
  /** Most entries of a label. */
  readonly width: number;
  /** Ids of a text and which of its positions have labels; no ids if only labels were stored. */
  text(sequence: number): Promise<TokenText>;
  /**
   * Labels `start` to `start + count` of a sequence (default: all).
   *
   * @throws `CORRUPT_DATA` or `INVALID_FILE` naming the file if its bytes are not what was written.
   */
  labels(sequence: number, range?: LabelRange): Promise<TokenLabels>;
  close(): Promise<void>;
}

/** Bytes of labels that are kept for who reads a text and then its labels. */
const KEPT_BYTES = 2 ** 24;

/** Labels that were decoded last, of a block. */
interface KeptLabels extends DecodedLabels {
  readonly block: Uint8Array;
  readonly start: number;
  readonly count: number;
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.buffer === b.buffer && a.byteOffset === b.byteOffset && a.length === b.length;
}

class ListedArchive extends StoredSequences implements TokenArchive {
  readonly #codec: TokenCodec;
  #kept: KeptLabels | undefined;

  constructor(archive: LabelArchive, codec: TokenCodec) {
    super(archive);
    this.#codec = codec;
  }

  get width(): number {
    return this.#codec.width;
  }

  async labels(sequence: number, range: LabelRange = {}): Promise<TokenLabels> {
    const { width } = this;
    const { tail } = this.#codec;
    const { own, shared } = await this.labelsOf(sequence, range, (...args) =>
      this.#decode(...args),
    );
    // They are the caller's now, who may change them.
    this.#kept = undefined;
    return { ...shared, kind: 'listed', width, ...own, tail };
  }

  protected override get textFormat(): TextFormat {
    return this.#codec.textFormat;
  }

  protected override labelIds(
    bytes: Uint8Array,
    head: SequenceHead,
    start: number,
    count: number,
  ): LabelIds {
    // Texts end with the token that the label before the last one is of: all are decoded for both.
    const all = start === 0 && count + 1 >= head.rows && 8 * head.rows * this.width <= KEPT_BYTES;
    const own = this.#decode(bytes, head, start, all ? head.rows : count);
    return this.#codec.textIds(own, head.first + start);
  }

  #decode(bytes: Uint8Array, head: SequenceHead, start: number, count: number): DecodedLabels {
    const kept = this.#kept;
    const from = start - (kept?.start ?? 0);
    if (
      kept !== undefined &&
      isSame(kept.block, bytes) &&
      from >= 0 &&
      from + count <= kept.count
    ) {
      const [a, b] = [from * this.width, (from + count) * this.width];
      return { ids: kept.ids.subarray(a, b), probabilities: kept.probabilities.subarray(a, b) };
    }
    const place = locateLabels(bytes, head, start, count);
    const own = this.#codec.labelsAt(bytes, place, count);
    const small = own.ids.byteLength + own.probabilities.byteLength <= KEPT_BYTES;
    this.#kept = small ? { ...own, block: bytes, start, count } : undefined;
    return own;
  }
}

/**
 * Opens an archive that `packTokens` wrote: a folder, an address or a store.
 *
 * @throws As `openArchive`; `UNSUPPORTED` for archives of other labels.
 */
export async function openTokenArchive(from: string | ByteStore): Promise<TokenArchive> {
  const archive = await openArchive(from);
  try {
    if (archive.codecParts.name !== TOKEN_CODEC) {
      throw new SoftpackError('UNSUPPORTED', 'not an archive of labels of tokens', {
        field: 'codec',
        expected: TOKEN_CODEC,
        found: archive.codecParts.name,
      });
    }
    return new ListedArchive(archive, TokenCodec.fromParts(archive.codecParts, loadKernels()));
  } catch (error) {
    await archive.close();
    throw error;
  }
}
