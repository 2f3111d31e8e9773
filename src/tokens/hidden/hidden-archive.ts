import type { LabelArchive } from '../../archive/archive.js';
import { openArchive } from '../../archive/archive.js';
import { argument } from '../../core/check.js';
import { SoftpackError } from '../../errors.js';
import { loadKernels } from '../../kernels/load.js';
import type { ByteStore } from '../../store/byte-store.js';
import { type LabelRange, StoredSequences, type TokenText } from '../stored-sequences.js';
import type { HiddenStates } from '../targets.js';
import { decodeHiddenRows } from './hidden-block.js';
import { HIDDEN_CODEC, HiddenCodec } from './hidden-codec.js';
import { checkHead, headDigest, type OutputHead } from './output-head.js';

/** Hidden states of some positions of a sequence; with the teacher's output matrix as `head`, targets of `tokenLoss`. */
export interface HiddenLabels extends HiddenStates {
  readonly counts: Uint8Array;
  /** Position in the text of the first label. */
  readonly first: number;
}

/** A finished archive of a teacher's hidden states of texts, open for reading. */
export interface HiddenArchive extends AsyncDisposable {
  readonly vocabulary: number;
  readonly sequences: number;
  /** Dimensions of a hidden state. */
  readonly width: number;
  /** sha256 of the teacher's output matrix as float32. */
  readonly headSha256: string;
  /** Ids of a text and which of its positions have labels; no ids if only labels were stored. */
  text(sequence: number): Promise<TokenText>;
  /**
   * Labels `start` to `start + count` of a sequence (default: all).
   *
   * @throws `CORRUPT_DATA` or `INVALID_FILE` naming the file if its bytes are not what was written.
   */
  labels(sequence: number, range?: LabelRange): Promise<HiddenLabels>;
  /**
   * The teacher's output matrix: the one that is stored, or `own` if it is the one that labels were made with.
   *
   * @throws `INVALID_ARGUMENT` for another matrix, `UNSUPPORTED` if none is stored and none is given.
   */
  head(own?: OutputHead): OutputHead;
  close(): Promise<void>;
}

class StoredHidden extends StoredSequences implements HiddenArchive {
  readonly #codec: HiddenCodec;

  constructor(archive: LabelArchive, codec: HiddenCodec) {
    super(archive);
    this.#codec = codec;
  }

  get width(): number {
    return this.#codec.config.width;
  }

  get headSha256(): string {
    return this.#codec.config.head;
  }

  async labels(sequence: number, range: LabelRange = {}): Promise<HiddenLabels> {
    const { width } = this;
    const decode = (
      ...args: [Uint8Array, Parameters<typeof decodeHiddenRows>[1], number, number]
    ) => decodeHiddenRows(...args, this.#codec);
    const { own, shared } = await this.labelsOf(sequence, range, decode);
    return { ...shared, kind: 'hidden', width, ...own };
  }

  head(own?: OutputHead): OutputHead {
    const { vocabulary, width, headSha256 } = this;
    if (own !== undefined) {
      const found = headDigest(checkHead(own));
      argument.that(found === headSha256, found, 'head', `the matrix of sha256 ${headSha256}`);
      return own;
    }
    const weights = this.#codec.storedHead();
    if (weights !== undefined) return { vocabulary, width, weights };
    throw new SoftpackError('UNSUPPORTED', 'the output matrix of the teacher is not stored', {
      field: 'head',
      expected: `the matrix of sha256 ${headSha256}, [${vocabulary}, ${width}] float32`,
      found: 'none',
    });
  }
}

/**
 * Opens an archive that `packHidden` wrote: a folder, an address or a store.
 *
 * @throws As `openArchive`; `UNSUPPORTED` for archives of other labels.
 */
export async function openHiddenArchive(from: string | ByteStore): Promise<HiddenArchive> {
  const archive = await openArchive(from);
  try {
    const { name } = archive.codecParts;
    if (name !== HIDDEN_CODEC) {
      throw new SoftpackError('UNSUPPORTED', 'not an archive of hidden states', {
        ...{ field: 'codec', expected: HIDDEN_CODEC, found: name },
      });
    }
    const codec = HiddenCodec.fromParts(archive.codecParts, loadKernels());
    return new StoredHidden(archive, codec);
  } catch (error) {
    await archive.close();
    throw error;
  }
}
