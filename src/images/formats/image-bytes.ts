import { MAX_SIDE } from '../../core/limits.js';
import { invalidFile, SoftpackError } from '../../errors.js';

/** Pixels that PIL refuses to decode from here on (`Image.MAX_IMAGE_PIXELS`, doubled): 512 MiB of RGB. */
export const MAX_PIXELS = 178_956_970;

/** uint8 [height, width, 3], red green blue. */
export interface DecodedImage {
  readonly pixels: Uint8Array;
  readonly height: number;
  readonly width: number;
}

/** Numbers of an untrusted image file by position; `INVALID_FILE` naming the file beyond its end. */
export class ImageBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, name: string) {
    this.bytes = bytes;
    this.name = name;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(at: number): number {
    this.slice(at, 1);
    return this.bytes[at];
  }

  u16(at: number, littleEndian = true): number {
    this.slice(at, 2);
    return this.#view.getUint16(at, littleEndian);
  }

  u32(at: number, littleEndian = true): number {
    this.slice(at, 4);
    return this.#view.getUint32(at, littleEndian);
  }

  i32(at: number): number {
    return this.u32(at) | 0;
  }

  u64(at: number, littleEndian = true): number {
    this.slice(at, 8);
    return Number(this.#view.getBigUint64(at, littleEndian));
  }

  slice(at: number, length: number): Uint8Array {
    if (at >= 0 && at + length <= this.bytes.length) return this.bytes.subarray(at, at + length);
    return this.fail('image ends early', `${length} bytes at ${at}`, `${this.bytes.length} bytes`);
  }

  fail(message: string, expected?: unknown, found?: unknown): never {
    throw invalidFile(this.name, 'image', message, { expected, found });
  }

  unsupported(expected: string, found: unknown): never {
    const details = { field: this.name, expected, found };
    throw new SoftpackError('UNSUPPORTED', 'image of a kind that cannot be read', details);
  }

  /** Black, of a size that was checked. */
  image(height: number, width: number): DecodedImage {
    const valid = height > 0 && width > 0 && height <= MAX_SIDE && width <= MAX_SIDE;
    if (!valid || height * width > MAX_PIXELS) {
      const expected = `sides from 1 to ${MAX_SIDE}, at most ${MAX_PIXELS} pixels`;
      this.fail('image size out of range', expected, `${height} x ${width}`);
    }
    return { pixels: new Uint8Array(height * width * 3), height, width };
  }
}
