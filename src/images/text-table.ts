import { allocateShared } from '../core/allocate.js';
import { SoftpackError } from '../errors.js';

/** Texts in shared memory, found by index: threads read a million file names from one copy. */
export interface TextTable {
  readonly count: number;
  /** UTF-8, one text after the other, over a SharedArrayBuffer. */
  readonly bytes: Uint8Array;
  /** [count + 1], start of each text. */
  readonly offsets: Uint32Array;
}

/** Positions are stored in 32 bits. */
const MAX_BYTES = 2 ** 32 - 1;

/** `UNSUPPORTED` beyond 4 GiB of texts. */
export function textTable(texts: readonly string[]): TextTable {
  const offsets = new Uint32Array(allocateShared(4 * (texts.length + 1), 'names'));
  let end = 0;
  for (const [i, text] of texts.entries()) {
    end += Buffer.byteLength(text);
    if (end > MAX_BYTES) {
      const details = { field: 'names', expected: `at most ${MAX_BYTES} bytes` };
      throw new SoftpackError('UNSUPPORTED', 'too many file names', details);
    }
    offsets[i + 1] = end;
  }
  const bytes = new Uint8Array(allocateShared(end, 'names'));
  const encoder = new TextEncoder();
  for (const [i, text] of texts.entries()) bytes.set(encoder.encode(text), offsets[i]);
  return { count: texts.length, bytes, offsets };
}

export function textAt({ bytes, offsets }: TextTable, index: number): string {
  return Buffer.from(bytes.subarray(offsets[index], offsets[index + 1])).toString();
}
