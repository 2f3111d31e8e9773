import type { LabelArchive } from '../archive/archive.js';
import { splitBlocks } from '../core/blocks.js';
import { argument } from '../core/check.js';
import { errorAt, SoftpackError } from '../errors.js';
import { readHead, readMask, type SequenceHead } from './sequence-block.js';
import { readText, type TextFormat } from './sequence-text.js';
import { type LabelIds, NO_LABELS } from './text-code.js';

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
  #last: { readonly sequence: number; readonly row: Uint8Array; tokens?: Int32Array } | undefined;

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
      const tokens = this.#textOf(bytes, head, 0, length);
      if (this.#last?.sequence === sequence) this.#last.tokens = tokens.slice();
      return { tokens, first, labels: rows };
    });
  }

  /** How texts are stored. */
  protected get textFormat(): TextFormat {
    return { vocabulary: this.vocabulary };
  }

  /** Ids that some labels list, for texts that are told by them. */
  protected labelIds(
    _bytes: Uint8Array,
    _head: SequenceHead,
    _start: number,
    _count: number,
  ): LabelIds {
    return NO_LABELS;
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
      const next = this.#next(sequence, bytes, head, start, positions);
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
  #next(
    sequence: number,
    bytes: Uint8Array,
    head: SequenceHead,
    start: number,
    count: number,
  ): Int32Array {
    const next = new Int32Array(count).fill(-1);
    const from = head.first + start + 1;
    const known = Math.min(count, (head.length ?? 0) - from);
    if (known <= 0) return next;
    const tokens = this.#last?.sequence === sequence ? this.#last.tokens : undefined;
    next.set(tokens?.subarray(from, from + known) ?? this.#textOf(bytes, head, from, known));
    return next;
  }

  #textOf(bytes: Uint8Array, head: SequenceHead, start: number, count: number): Int32Array {
    const range = { start, count };
    return readText(bytes, head, this.textFormat, range, (from, rows) =>
      this.labelIds(bytes, head, from, rows),
    );
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
      return work(bytes, readHead(bytes, this.textFormat));
    } catch (error) {
      if (!(error instanceof SoftpackError) || error.field !== 'codes') throw error;
      const file = `${this.#archive.fileOf(0, sequence)}, sequence ${sequence}`;
      throw errorAt(file, error, 'INVALID_FILE');
    }
  }
}
