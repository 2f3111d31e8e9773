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
import { TOKEN_CODEC, TokenCodec } from './token-codec.js';

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

class ListedArchive extends StoredSequences implements TokenArchive {
  readonly #codec: TokenCodec;

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
    const place = locateLabels(bytes, head, start, count);
    return this.#codec.labelIds(bytes, place, count, head.first + start);
  }

  #decode(bytes: Uint8Array, head: SequenceHead, start: number, count: number) {
    return this.#codec.labelsAt(bytes, locateLabels(bytes, head, start, count), count);
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
