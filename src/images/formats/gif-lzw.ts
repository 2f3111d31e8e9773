import type { ImageBytes } from './image-bytes.js';

const MOST_CODES = 4096;

/** Decodes the colour indices of a GIF image, whose data begins at `at` with the size of its codes in bits. */
export function lzwIndices(file: ImageBytes, at: number, count: number): Uint8Array {
  const minimum = file.u8(at);
  if (minimum < 1 || minimum > 11) file.fail('size of codes out of range', '1 to 11', minimum);
  const codes = new CodeReader(file, at + 1);
  const [clear, end] = [1 << minimum, (1 << minimum) + 1];
  // Each code stands for the string of another, `prefix`, and one index after it.
  const prefix = new Uint16Array(MOST_CODES);
  const last = new Uint8Array(MOST_CODES);
  const length = new Uint16Array(MOST_CODES);
  for (let i = 0; i < clear; i++) {
    last[i] = i;
    length[i] = 1;
  }
  const out = new Uint8Array(count);
  let [done, next, bits, previous] = [0, clear + 2, minimum + 1, -1];
  while (done < count) {
    const code = codes.read(bits);
    if (code === clear) {
      [next, bits, previous] = [clear + 2, minimum + 1, -1];
      continue;
    }
    if (code === end || code > next || (code === next && previous < 0)) {
      file.fail('damaged image data', `${count} pixels`, `code ${code} after ${done} pixels`);
    }
    if (previous >= 0 && next < MOST_CODES) {
      prefix[next] = previous;
      length[next] = length[previous] + 1;
      // A code that is just being defined begins with the index it ends with.
      last[next] = firstIndex(code === next ? previous : code);
      next += 1;
      if (next === 1 << bits && bits < 12) bits += 1;
    } else if (code >= next) {
      file.fail('damaged image data', 'a known code', code);
    }
    writeString(code);
    previous = code;
  }
  return out;

  function firstIndex(code: number): number {
    let at = code;
    while (at >= clear) at = prefix[at];
    return last[at];
  }

  function writeString(code: number): void {
    let [at, to] = [code, done + length[code]];
    done = Math.min(count, to);
    for (; at >= clear; at = prefix[at]) {
      to -= 1;
      if (to < count) out[to] = last[at];
    }
    if (to - 1 < count) out[to - 1] = last[at];
  }
}

/** Codes of growing size, lowest bits first, from the data's blocks of up to 255 bytes. */
class CodeReader {
  readonly #file: ImageBytes;
  #at: number;
  #left = 0;
  #buffer = 0;
  #bits = 0;

  constructor(file: ImageBytes, at: number) {
    this.#file = file;
    this.#at = at;
  }

  read(bits: number): number {
    while (this.#bits < bits) {
      if (this.#left === 0) {
        this.#left = this.#file.u8(this.#at++);
        if (this.#left === 0) this.#file.fail('image ends early');
      }
      this.#buffer |= this.#file.u8(this.#at++) << this.#bits;
      this.#bits += 8;
      this.#left -= 1;
    }
    const code = this.#buffer & ((1 << bits) - 1);
    this.#buffer >>>= bits;
    this.#bits -= bits;
    return code;
  }
}
