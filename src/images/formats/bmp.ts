import { decodeRuns } from './bmp-runs.js';
import type { DecodedImage, ImageBytes } from './image-bytes.js';

/**
 * Windows and OS/2 bitmaps as PIL's BmpImagePlugin reads them: 1, 4 and 8 bits with a palette (run-length coded ones
 * too), 16, 24 and 32 bits; alpha is dropped.
 */
export function decodeBmp(file: ImageBytes): DecodedImage {
  const header = readHeader(file);
  const { height, width, bits, topDown } = header;
  const image = file.image(height, width);
  if (header.bits <= 8) return paletteImage(file, header, image);
  const unpack = unpacker(file, header);
  const rowBytes = strideOf(width, bits);
  file.slice(header.dataAt, rowBytes * (height - 1) + Math.ceil((width * bits) / 8));
  for (let y = 0; y < height; y++) {
    const from = header.dataAt + (topDown ? y : height - 1 - y) * rowBytes;
    for (let x = 0; x < width; x++) {
      unpack(from + (x * bits) / 8, image.pixels, (y * width + x) * 3);
    }
  }
  return image;
}

interface BmpHeader {
  readonly headerBytes: number;
  readonly height: number;
  readonly width: number;
  readonly topDown: boolean;
  readonly bits: number;
  readonly compression: number;
  /** Entries of the palette. */
  readonly colours: number;
  /** Bytes per entry. */
  readonly entryBytes: number;
  readonly paletteAt: number;
  readonly dataAt: number;
}

const RAW = 0;
const RLE8 = 1;
const RLE4 = 2;
const BITFIELDS = 3;
const FILE_HEADER_BYTES = 14;

function readHeader(file: ImageBytes): BmpHeader {
  const headerBytes = file.u32(FILE_HEADER_BYTES);
  const given = file.u32(10);
  const at = FILE_HEADER_BYTES + 4;
  const end = FILE_HEADER_BYTES + headerBytes;
  if (headerBytes === 12) {
    const bits = file.u16(at + 6);
    const colours = 1 << bits;
    return {
      ...{ headerBytes, width: file.u16(at), height: file.u16(at + 2), topDown: false, bits },
      ...{ compression: RAW, colours, entryBytes: 3, paletteAt: end },
      dataAt: dataPosition(given, end, bits, 3 * colours),
    };
  }
  if (![40, 52, 56, 64, 108, 124].includes(headerBytes)) {
    file.unsupported('a bitmap header of 12, 40, 52, 56, 64, 108 or 124 bytes', headerBytes);
  }
  const height = file.i32(at + 4);
  const bits = file.u16(at + 10);
  const compression = file.u32(at + 12);
  const colours = file.u32(at + 28) || 2 ** bits;
  const paletteAt = end + (compression === BITFIELDS && headerBytes < 52 ? 12 : 0);
  return {
    ...{ headerBytes, width: file.u32(at), height: Math.abs(height), topDown: height < 0, bits },
    ...{ compression, colours, entryBytes: 4, paletteAt },
    dataAt: dataPosition(given, end, bits, 4 * colours) || paletteAt,
  };
}

/** Some writers give the start of the palette as that of the pixels. */
function dataPosition(given: number, end: number, bits: number, paletteBytes: number): number {
  return given === end && bits <= 8 ? given + paletteBytes : given;
}

/** Rows are padded to 4 bytes. */
function strideOf(width: number, bits: number): number {
  return Math.ceil((width * bits) / 32) * 4;
}

function paletteImage(file: ImageBytes, header: BmpHeader, image: DecodedImage): DecodedImage {
  const { height, width, bits, compression, colours, entryBytes, paletteAt } = header;
  if (![1, 4, 8].includes(bits)) file.unsupported('1, 4, 8, 16, 24 or 32 bits per pixel', bits);
  if (colours > 65_536) file.fail('palette too large', 'at most 65536 colours', colours);
  const palette = file.slice(paletteAt, colours * entryBytes);
  const indices = indicesOf(file, header);
  for (let y = 0; y < height; y++) {
    const row = header.topDown ? y : height - 1 - y;
    for (let x = 0; x < width; x++) {
      // Colours beyond the palette are black.
      const entry = indices[row * width + x] * entryBytes;
      const to = (y * width + x) * 3;
      image.pixels[to] = palette[entry + 2] ?? 0;
      image.pixels[to + 1] = palette[entry + 1] ?? 0;
      image.pixels[to + 2] = palette[entry] ?? 0;
    }
  }
  return image;

  function indicesOf(from: ImageBytes, { dataAt }: BmpHeader): Uint8Array {
    if (compression === RLE8 && bits === 8) return decodeRuns(from, dataAt, [height, width], false);
    if (compression === RLE4 && bits === 4) return decodeRuns(from, dataAt, [height, width], true);
    if (compression !== RAW) from.unsupported('no compression, RLE8 or RLE4', compression);
    return unpackIndices(from, dataAt, [height, width], bits);
  }
}

/** One byte per pixel from 1, 4 or 8 bits, the first pixel in the highest bits. */
function unpackIndices(
  file: ImageBytes,
  dataAt: number,
  [height, width]: readonly [number, number],
  bits: number,
): Uint8Array {
  const stride = strideOf(width, bits);
  const data = file.slice(dataAt, stride * (height - 1) + Math.ceil((width * bits) / 8));
  const indices = new Uint8Array(height * width);
  const perByte = 8 / bits;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const byte = data[y * stride + Math.floor(x / perByte)];
      indices[y * width + x] = (byte >> (8 - bits * ((x % perByte) + 1))) & ((1 << bits) - 1);
    }
  }
  return indices;
}

/** Writes the pixel at `from` of the file to `to` of the image. */
type Unpack = (from: number, pixels: Uint8Array, to: number) => void;

/** Positions of red, green and blue by the masks of a 32-bit pixel: the layouts that PIL knows. */
const CHANNELS_32: Readonly<Record<string, readonly [number, number, number]>> = {
  'ff0000,ff00,ff,0': [2, 1, 0],
  'ff000000,ff0000,ff00,0': [3, 2, 1],
  'ff000000,ff00,ff,0': [3, 1, 0],
  'ff000000,ff0000,ff00,ff': [3, 2, 1],
  'ff,ff00,ff0000,ff000000': [0, 1, 2],
  'ff0000,ff00,ff,ff000000': [2, 1, 0],
  'ff000000,ff00,ff,ff0000': [3, 1, 0],
  '0,0,0,0': [2, 1, 0],
};

function unpacker(file: ImageBytes, header: BmpHeader): Unpack {
  const { bits, compression } = header;
  if (compression !== RAW && compression !== BITFIELDS) {
    file.unsupported('no compression, or bit fields', compression);
  }
  const masks = compression === BITFIELDS ? masksOf(file, header) : undefined;
  const unknown = () =>
    file.unsupported('16, 24 or 32 bits in a usual layout', `${bits} bits, masks ${masks}`);
  if (bits === 16) {
    const [red, green, blue] = masks ?? ['7c00', '3e0', '1f'];
    const layout = `${red},${green},${blue}`;
    if (layout !== 'f800,7e0,1f' && layout !== '7c00,3e0,1f') return unknown();
    return unpack16(file, layout === 'f800,7e0,1f' ? 6 : 5);
  }
  const plain = [2, 1, 0] as const;
  if (bits === 24) {
    const known = masks === undefined || String(masks.slice(0, 3)) === 'ff0000,ff00,ff';
    return known ? unpackBytes(file, plain) : unknown();
  }
  const channels = masks === undefined ? plain : CHANNELS_32[String(masks)];
  return bits === 32 && channels !== undefined ? unpackBytes(file, channels) : unknown();
}

/** Masks of red, green, blue and alpha, hexadecimal. */
function masksOf(file: ImageBytes, { headerBytes }: BmpHeader): readonly string[] {
  const at = FILE_HEADER_BYTES + 40;
  const mask = (i: number) => file.u32(at + 4 * i).toString(16);
  return [mask(0), mask(1), mask(2), headerBytes >= 56 ? mask(3) : '0'];
}

function unpackBytes({ bytes }: ImageBytes, [r, g, b]: readonly [number, number, number]): Unpack {
  return (from, pixels, to) => {
    pixels[to] = bytes[from + r];
    pixels[to + 1] = bytes[from + g];
    pixels[to + 2] = bytes[from + b];
  };
}

/** 5 bits of red, 5 or 6 of green and 5 of blue, each stretched to 255 and rounded down, as PIL does. */
function unpack16({ bytes }: ImageBytes, greenBits: 5 | 6): Unpack {
  const most = 2 ** greenBits - 1;
  return (from, pixels, to) => {
    const value = bytes[from] | (bytes[from + 1] << 8);
    pixels[to] = Math.floor((((value >> (5 + greenBits)) & 31) * 255) / 31);
    pixels[to + 1] = Math.floor((((value >> 5) & most) * 255) / most);
    pixels[to + 2] = Math.floor(((value & 31) * 255) / 31);
  };
}
