import { lzwIndices } from './gif-lzw.js';
import type { DecodedImage, ImageBytes } from './image-bytes.js';

/**
 * The first image of a GIF as PIL's `convert('RGB')` gives it: transparent pixels, and those that the image leaves
 * uncovered, have the palette's colour of the transparent index (of index 0 if there is none).
 */
export function decodeGif(file: ImageBytes): DecodedImage {
  const frame = firstFrame(file);
  const { left, top, palette, transparent } = frame;
  const height = Math.max(file.u16(8), top + frame.height);
  const width = Math.max(file.u16(6), left + frame.width);
  const image = file.image(height, width);
  if (transparent !== 0 || palette === undefined || palette[0] + palette[1] + palette[2] > 0) {
    for (let i = 0; i < height * width; i++) paint(image.pixels, i, transparent, palette);
  }
  const indices = lzwIndices(file, frame.dataAt, frame.height * frame.width);
  for (const [row, y] of rowsOf(frame).entries()) {
    for (let x = 0; x < frame.width; x++) {
      const to = (top + y) * width + left + x;
      paint(image.pixels, to, indices[row * frame.width + x], palette);
    }
  }
  return image;
}

interface GifFrame {
  readonly left: number;
  readonly top: number;
  readonly height: number;
  readonly width: number;
  readonly interlaced: boolean;
  /** Red, green, blue; without one, indices are greys. */
  readonly palette: Uint8Array | undefined;
  /** Index that uncovered pixels have. */
  readonly transparent: number;
  /** Position of the size of the codes, followed by the data. */
  readonly dataAt: number;
}

const HAS_PALETTE = 0x80;
const INTERLACED = 0x40;

function firstFrame(file: ImageBytes): GifFrame {
  const global = paletteAt(file, file.u8(10), 13);
  let at = 13 + (global?.length ?? 0);
  let transparent = 0;
  for (;;) {
    const block = file.u8(at);
    if (block === 0x2c) break;
    if (block !== 0x21) file.fail('no image in the GIF', 'an image block', `block ${block}`);
    const isControl = file.u8(at + 1) === 0xf9 && file.u8(at + 2) >= 4;
    if (isControl && (file.u8(at + 3) & 1) === 1) transparent = file.u8(at + 6);
    at = skipBlocks(file, at + 2);
  }
  const flags = file.u8(at + 9);
  const local = paletteAt(file, flags, at + 10);
  return {
    ...{ left: file.u16(at + 1), top: file.u16(at + 3) },
    ...{ width: file.u16(at + 5), height: file.u16(at + 7) },
    interlaced: (flags & INTERLACED) !== 0,
    palette: local ?? global,
    transparent,
    dataAt: at + 10 + (local?.length ?? 0),
  };
}

function paletteAt(file: ImageBytes, flags: number, at: number): Uint8Array | undefined {
  return (flags & HAS_PALETTE) === 0 ? undefined : file.slice(at, 3 << ((flags & 7) + 1));
}

function skipBlocks(file: ImageBytes, begin: number): number {
  let at = begin;
  for (let length = file.u8(at); length > 0; length = file.u8(at)) at += 1 + length;
  return at + 1;
}

/** The rows of the image in the order that the file has them. */
function rowsOf({ height, interlaced }: GifFrame): readonly number[] {
  const passes = interlaced
    ? ([
        [0, 8],
        [4, 8],
        [2, 4],
        [1, 2],
      ] as const)
    : ([[0, 1]] as const);
  const rows: number[] = [];
  for (const [first, step] of passes) for (let y = first; y < height; y += step) rows.push(y);
  return rows;
}

/** Colours beyond the palette are black. */
function paint(
  pixels: Uint8Array,
  to: number,
  index: number,
  palette: Uint8Array | undefined,
): void {
  for (let channel = 0; channel < 3; channel++) {
    pixels[3 * to + channel] = palette === undefined ? index : (palette[3 * index + channel] ?? 0);
  }
}
