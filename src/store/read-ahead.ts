import { errorCode } from '../errors.js';
import { type ByteFile, type ReadOptions, requireWithin } from './byte-store.js';
import { IN_FLIGHT, REQUEST_BYTES } from './coalesce.js';

export interface ReadAheadOptions {
  /** Bytes of a piece that is read ahead. Default 8 MiB. */
  readonly pieceBytes?: number;
  /** Pieces ahead of a reader. Default 4. */
  readonly pieces?: number;
}

/** Readers that go through a file at the same time; the one that was idle longest loses what was read ahead of it. */
const MOST_READERS = 2;

/**
 * A file that reads ahead of those who say how far they will go (`until`): pieces of 8 MiB, 4 at a time, while the reader
 * takes small ones. Nothing beyond `until` is read, and nothing is kept once it was taken.
 */
export function readAhead(file: ByteFile, options: ReadAheadOptions = {}): ByteFile {
  let readers: readonly Reader[] = [];
  return {
    name: file.name,
    size: file.size,
    version: file.version,
    async read(offset, into, read = {}) {
      requireWithin(file, offset, into.length);
      const end = offset + into.length;
      const until = Math.min(Math.max(end, read.until ?? 0), file.size);
      const known = readers.find((reader) => reader.covers(offset));
      if (into.length === 0 || read.fresh || (known === undefined && until === end)) {
        await file.read(offset, into, read);
        return;
      }
      const reader = known ?? new Reader(file, offset, options);
      readers = [reader, ...readers.filter((other) => other !== reader)].slice(0, MOST_READERS);
      try {
        await reader.read(offset, into, until, read);
      } catch (error) {
        readers = readers.filter((other) => other !== reader);
        // The piece was asked for by an earlier read, whose signal is not this one's.
        if (errorCode(error) !== 'ABORTED' || read.signal?.aborted) throw error;
        await file.read(offset, into, read);
      }
    },
    holds: (offset, length) => file.holds?.(offset, length) ?? false,
    async close() {
      readers = [];
      await file.close();
    },
  };
}

/** Bytes [begin, end) of the file, come or to come. */
interface Piece {
  readonly begin: number;
  readonly end: number;
  readonly bytes: Promise<Uint8Array>;
}

/** What is read ahead of one reader. */
class Reader {
  readonly #file: ByteFile;
  readonly #pieceBytes: number;
  readonly #most: number;
  /** They follow each other; the first one holds what the reader takes next. */
  #pieces: Piece[] = [];
  #next: number;

  constructor(file: ByteFile, offset: number, options: ReadAheadOptions) {
    const { pieceBytes = REQUEST_BYTES, pieces = IN_FLIGHT } = options;
    this.#file = file;
    this.#pieceBytes = pieceBytes;
    this.#most = pieces;
    this.#next = offset;
  }

  covers(offset: number): boolean {
    const [first] = this.#pieces;
    return first !== undefined && first.begin <= offset && offset < first.end;
  }

  async read(offset: number, into: Uint8Array, until: number, read: ReadOptions): Promise<void> {
    const end = offset + into.length;
    const taken: Piece[] = [];
    // All pieces are found before anything is waited for: the next read may come meanwhile.
    for (;;) {
      this.#fill(until, read);
      const [first] = this.#pieces;
      if (first === undefined || first.begin >= end) break;
      taken.push(first);
      if (first.end > end) break;
      this.#pieces.shift();
    }
    for (const piece of taken) {
      const bytes = await piece.bytes;
      const from = Math.max(piece.begin, offset);
      const to = Math.min(piece.end, end);
      into.set(bytes.subarray(from - piece.begin, to - piece.begin), from - offset);
    }
  }

  #fill(until: number, { signal }: ReadOptions): void {
    while (this.#next < until && this.#pieces.length < this.#most) {
      const [begin, end] = [this.#next, Math.min(this.#next + this.#pieceBytes, until)];
      const into = new Uint8Array(end - begin);
      const bytes = this.#file.read(begin, into, { signal }).then(() => into);
      bytes.catch(() => undefined); // Reported to whoever takes the piece.
      this.#pieces.push({ begin, end, bytes });
      this.#next = end;
    }
  }
}
