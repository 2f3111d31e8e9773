import type { ImageBytes } from './image-bytes.js';

/**
 * Colour indices of a run-length coded bitmap, one byte per pixel, in the rows' order of the file. Rows may end early and
 * positions may be skipped: those pixels have index 0.
 */
export function decodeRuns(
  file: ImageBytes,
  begin: number,
  [height, width]: readonly [number, number],
  nibbles: boolean,
): Uint8Array {
  const out = new Uint8Array(height * width);
  let at = begin;
  /** Pixels written or skipped, and how many of the row. */
  let [done, x] = [0, 0];
  while (done < out.length) {
    const [count, value] = file.slice(at, 2);
    at += 2;
    if (count > 0) {
      const length = Math.max(0, Math.min(count, width - x));
      for (let i = 0; i < length && done < out.length; i++) {
        out[done++] = nibbles ? nibble(value, i) : value;
      }
      x += length;
    } else if (value === 0) {
      done = Math.ceil(done / width) * width;
      x = 0;
    } else if (value === 1) {
      break;
    } else if (value === 2) {
      const [right, up] = file.slice(at, 2);
      at += 2;
      done = Math.min(out.length, done + right + up * width);
      x = done % width;
    } else {
      const length = Math.min(value, out.length - done);
      const bytes = file.slice(at, nibbles ? Math.ceil(length / 2) : length);
      for (let i = 0; i < length; i++) {
        out[done++] = nibbles ? nibble(bytes[i >> 1], i) : bytes[i];
      }
      x += value;
      at += bytes.length;
      // Runs of single pixels are padded to whole 16-bit words, counted in the file.
      at += at % 2;
    }
  }
  if (done < out.length) {
    file.fail('image ends early', `${out.length} pixels`, `${done} pixels`);
  }
  return out;
}

/** The pixels of a byte take turns, the higher four bits first. */
function nibble(byte: number, i: number): number {
  return i % 2 === 0 ? byte >> 4 : byte & 15;
}
