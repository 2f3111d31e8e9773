import type { DecodedImage, ImageBytes } from './image-bytes.js';

/**
 * PBM, PGM and PPM as PIL's PpmImagePlugin reads them: values are stretched to 255 and rounded, and grey beyond 8 bits is
 * stretched to 65535, then cut at 255, as `convert('RGB')` does.
 */
export function decodePnm(file: ImageBytes): DecodedImage {
  const kind = file.u8(1) - 0x30;
  const text = new PnmText(file, 2);
  const width = text.number();
  const height = text.number();
  const bitmap = kind === 1 || kind === 4;
  const most = bitmap ? 1 : text.number();
  if (most < 1 || most > 65_535) file.fail('largest value out of range', '1 to 65535', most);
  const image = file.image(height, width);
  const channels = kind === 3 || kind === 6 ? 3 : 1;
  const count = height * width * channels;
  const scale = channels === 1 && most > 255 ? 65_535 : 255;
  const read =
    kind <= 3 ? plainValues(text, bitmap) : binaryValues(file, text.end, kind, width, count, most);
  for (let i = 0; i < count; i++) {
    const value = read(i);
    if (kind <= 3 && value > most) file.fail('value too large', `at most ${most}`, value);
    const stretched = bitmap ? 255 * (1 - value) : roundHalfEven((value / most) * scale);
    const byte = Math.min(255, stretched);
    if (channels === 3) image.pixels[i] = byte;
    else image.pixels.fill(byte, 3 * i, 3 * i + 3);
  }
  return image;
}

/** Values in order; called with 0, 1, 2 ... */
type ReadValue = (i: number) => number;

function plainValues(text: PnmText, bitmap: boolean): ReadValue {
  return bitmap ? () => text.bit() : () => text.number();
}

function binaryValues(
  file: ImageBytes,
  at: number,
  kind: number,
  width: number,
  count: number,
  most: number,
): ReadValue {
  if (kind === 4) {
    const stride = Math.ceil(width / 8);
    const bits = file.slice(at, stride * (count / width));
    return (i) => {
      const x = i % width;
      return (bits[((i - x) / width) * stride + (x >> 3)] >> (7 - (x & 7))) & 1;
    };
  }
  const size = most > 255 ? 2 : 1;
  const data = file.slice(at, count * size);
  if (size === 1) return (i) => Math.min(data[i], most);
  return (i) => Math.min((data[2 * i] << 8) | data[2 * i + 1], most);
}

/** Python's `round`. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const odd = floor % 2 === 1;
  return value - floor > 0.5 || (value - floor === 0.5 && odd) ? floor + 1 : floor;
}

/** Skips white space and comments of the header, and of text images. */
class PnmText {
  readonly #file: ImageBytes;
  #at: number;

  constructor(file: ImageBytes, at: number) {
    this.#file = file;
    this.#at = at;
  }

  /** Start of the binary values: one byte of white space follows the header. */
  get end(): number {
    return this.#at + 1;
  }

  number(): number {
    const begin = this.#skip();
    let value = 0;
    while (this.#at - begin <= 10 && isDigit(this.#file.bytes[this.#at])) {
      value = value * 10 + this.#file.bytes[this.#at++] - 0x30;
    }
    if (this.#at === begin) this.#file.fail('not a number', 'digits', this.#found(begin));
    return value;
  }

  /** Digits of a bitmap need no space between them. */
  bit(): number {
    const begin = this.#skip();
    const value = this.#file.u8(this.#at++) - 0x30;
    if (value !== 0 && value !== 1) this.#file.fail('not a bit', '0 or 1', this.#found(begin));
    return value;
  }

  #skip(): number {
    const { bytes } = this.#file;
    for (let comment = false; this.#at < bytes.length; this.#at++) {
      const byte = bytes[this.#at];
      if (comment) comment = byte !== 0x0a && byte !== 0x0d;
      else if (byte === 0x23) comment = true;
      else if (byte !== 0x20 && !(byte >= 0x09 && byte <= 0x0d)) break;
    }
    this.#file.u8(this.#at);
    return this.#at;
  }

  #found(at: number): string {
    return `byte ${this.#file.bytes[at]} at ${at}`;
  }
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}
