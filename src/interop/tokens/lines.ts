import { invalidFile } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';

export interface Line {
  /** Counted from 1. */
  readonly number: number;
  readonly bytes: Uint8Array;
}

const PIECE_BYTES = 2 ** 20;
/** A request of 8,192 tokens with 20 log-probabilities each is about 13 MB. */
const MAX_LINE_BYTES = 2 ** 28;
const NEWLINE = 0x0a;

/** Lines of a file that are not blank, one in memory at a time. `INVALID_FILE` for a longer one than any record. */
export async function* linesOf(file: ByteFile): AsyncGenerator<Line> {
  let parts: Uint8Array[] = [];
  let length = 0;
  let number = 1;
  const take = (): Line => {
    const bytes = Buffer.concat(parts);
    parts = [];
    length = 0;
    return { number, bytes };
  };
  for (let offset = 0; offset < file.size; offset += PIECE_BYTES) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, file.size - offset));
    await file.read(offset, piece);
    let begin = 0;
    for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, begin)) {
      parts.push(piece.subarray(begin, end));
      const line = take();
      if (!isBlank(line.bytes)) yield line;
      number += 1;
      begin = end + 1;
    }
    parts.push(piece.subarray(begin));
    length += piece.length - begin;
    if (length > MAX_LINE_BYTES) {
      throw invalidFile(file.name, `line ${number}`, 'line is too long', {
        expected: `at most ${MAX_LINE_BYTES} bytes`,
      });
    }
  }
  const last = take();
  if (!isBlank(last.bytes)) yield last;
}

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}
