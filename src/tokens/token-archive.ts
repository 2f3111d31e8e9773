import { type LabelArchive, openArchive } from '../archive/archive.js';
import { allocate } from '../core/allocate.js';
import { splitBlocks } from '../core/blocks.js';
import { argument } from '../core/check.js';
import { errorAt, SoftpackError } from '../errors.js';
import { loadKernels } from '../kernels/load.js';
import type { ByteStore } from '../store/byte-store.js';
import { locateLabels, readHead, readMask, readText, type SequenceHead } from './sequence-block.js';
import type { ListedTargets } from './targets.js';
import { TOKEN_CODEC, TokenCodec } from './token-codec.js';

/** Labels of some positions of a sequence, as `tokenLoss` reads them. */
export interface TokenLabels extends ListedTargets {
  readonly counts: Uint8Array;
  /** Position in the text of the first label. */
  readonly first: number;
}

/** A text of an archive. */
export interface TokenText {
  readonly tokens?: Int32Array;
  /** Position of the first label. */
  readonly first: number;
  /** Labels, of positions one after the other. */
  readonly labels: number;
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
  labels(
    sequence: number,
    range?: { readonly start?: number; readonly count?: number },
  ): Promise<TokenLabels>;
  close(): Promise<void>;
}

class SourceTokenArchive implements TokenArchive {
  readonly #archive: LabelArchive;
  readonly #codec: TokenCodec;
  #last: { readonly sequence: number; readonly row: Uint8Array } | undefined;

  constructor(archive: LabelArchive, codec: TokenCodec) {
    this.#archive = archive;
    this.#codec = codec;
  }

  get vocabulary(): number {
    return this.#archive.classes;
  }

  get sequences(): number {
    return this.#archive.samples;
  }

  get width(): number {
    return this.#codec.width;
  }

  async text(sequence: number): Promise<TokenText> {
    return this.#read(sequence, (bytes, head) => {
      const { length, first, rows } = head;
      if (length === undefined) return { first, labels: rows };
      const tokens = readText(bytes, head, this.vocabulary, { start: 0, count: length });
      return { tokens, first, labels: rows };
    });
  }

  async labels(
    sequence: number,
    { start = 0, count }: { readonly start?: number; readonly count?: number } = {},
  ): Promise<TokenLabels> {
    return this.#read(sequence, (bytes, head) => {
      argument.count(start, 'start', 0, head.rows);
      const wanted = argument.count(count ?? head.rows - start, 'count', 0, head.rows - start);
      return this.#decode(bytes, head, start, wanted);
    });
  }

  close(): Promise<void> {
    this.#last = undefined;
    return this.#archive.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The row of a sequence: whoever reads a text reads its labels next. */
  async #rowOf(sequence: number): Promise<Uint8Array> {
    if (this.#last?.sequence === sequence) return this.#last.row;
    const { row } = await this.#archive.readCodes(0, { start: sequence, count: 1 });
    this.#last = { sequence, row };
    return row;
  }

  async #read<T>(sequence: number, work: (bytes: Uint8Array, head: SequenceHead) => T): Promise<T> {
    argument.count(sequence, 'sequence', 0, this.sequences - 1);
    const row = await this.#rowOf(sequence);
    try {
      const [bytes] = splitBlocks(row);
      return work(bytes, readHead(bytes, this.vocabulary));
    } catch (error) {
      if (!(error instanceof SoftpackError) || error.field !== 'codes') throw error;
      const file = `${this.#archive.fileOf(0, sequence)}, sequence ${sequence}`;
      throw errorAt(file, error, 'INVALID_FILE');
    }
  }

  #decode(bytes: Uint8Array, head: SequenceHead, start: number, count: number): TokenLabels {
    const { width, vocabulary } = this;
    const ids = new Int32Array(allocate(4 * count * width, 'labels'));
    const probabilities = new Float32Array(allocate(4 * count * width, 'labels'));
    const next = nextTokens(bytes, head, vocabulary, start, count);
    const counts = readMask(bytes, head, start, count);
    this.#codec.decode(bytes, locateLabels(bytes, head, start, count), { ids, probabilities });
    const tail = { kind: this.#codec.config.tail };
    const { first } = head;
    return {
      ...{ kind: 'listed', vocabulary, positions: count, width, ids, probabilities, tail },
      ...{ next, counts, first: first + start },
    };
  }
}

/** What follows each of some labels in the text; -1 behind its end and without a text. */
function nextTokens(
  bytes: Uint8Array,
  head: SequenceHead,
  vocabulary: number,
  start: number,
  count: number,
): Int32Array {
  const next = new Int32Array(count).fill(-1);
  const from = head.first + start + 1;
  const known = Math.min(count, (head.length ?? 0) - from);
  if (known > 0) next.set(readText(bytes, head, vocabulary, { start: from, count: known }));
  return next;
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
    return new SourceTokenArchive(archive, TokenCodec.fromParts(archive.codecParts, loadKernels()));
  } catch (error) {
    await archive.close();
    throw error;
  }
}
