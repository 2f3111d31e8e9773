import type { LabelArchive } from '../archive/archive.js';
import { splitBlocks } from '../core/blocks.js';
import { argument } from '../core/check.js';
import { errorAt, SoftpackError } from '../errors.js';
import { readHead, readMask, readText, type SequenceHead } from './sequence-block.js';

/** A text of an archive. */
export interface TokenText {
  readonly tokens?: Int32Array;
  /** Position of the first label. */
  readonly first: number;
  /** Labels, of positions one after the other. */
  readonly labels: number;
}

/** Which of a sequence's labels to read. */
export interface LabelRange {
  readonly start?: number;
  readonly count?: number;
}

/** Sequences of an archive; which labels they have its kinds say. */
export class StoredSequences implements AsyncDisposable {
  readonly #archive: LabelArchive;
  #last: { readonly sequence: number; readonly row: Uint8Array } | undefined;

  constructor(archive: LabelArchive) {
    this.#archive = archive;
  }

  get vocabulary(): number {
    return this.#archive.classes;
  }

  get sequences(): number {
    return this.#archive.samples;
  }

  async text(sequence: number): Promise<TokenText> {
    return this.#read(sequence, (bytes, head) => {
      const { length, first, rows } = head;
      if (length === undefined) return { first, labels: rows };
      const tokens = readText(bytes, head, this.vocabulary, { start: 0, count: length });
      return { tokens, first, labels: rows };
    });
  }

  /** Labels of a sequence as `decode` makes them, with what every kind of label has. */
  protected async labelsOf<T>(
    sequence: number,
    { start = 0, count }: LabelRange,
    decode: (bytes: Uint8Array, head: SequenceHead, start: number, count: number) => T,
  ) {
    return this.#read(sequence, (bytes, head) => {
      argument.count(start, 'start', 0, head.rows);
      const positions = argument.count(count ?? head.rows - start, 'count', 0, head.rows - start);
      const own = decode(bytes, head, start, positions);
      const next = this.#next(bytes, head, start, positions);
      const counts = readMask(bytes, head, start, positions);
      const { vocabulary } = this;
      return { own, shared: { vocabulary, positions, next, counts, first: head.first + start } };
    });
  }

  close(): Promise<void> {
    this.#last = undefined;
    return this.#archive.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What follows each of some labels in the text; -1 behind its end and without a text. */
  #next(bytes: Uint8Array, head: SequenceHead, start: number, count: number): Int32Array {
    const next = new Int32Array(count).fill(-1);
    const from = head.first + start + 1;
    const known = Math.min(count, (head.length ?? 0) - from);
    const range = { start: from, count: known };
    if (known > 0) next.set(readText(bytes, head, this.vocabulary, range));
    return next;
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
}
