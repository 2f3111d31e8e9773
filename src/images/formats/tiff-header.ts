import { MAX_SIDE } from '../../core/limits.js';
import type { ImageBytes } from './image-bytes.js';

/** Layout of the samples of a TIFF, for the kinds whose colours are known to equal PIL's. */
export type TiffKind = 'plain' | 'cmyk' | 'grey16';

interface TiffTags {
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly compression: number;
  readonly photometric: number;
  readonly samples: number;
  readonly planar: number;
  /** 1 unsigned, 2 signed, 3 floating point. */
  readonly sampleFormat: number;
}

const TAGS = {
  ...{ width: 256, height: 257 },
  ...{ bits: 258, compression: 259, photometric: 262, samples: 277 },
  ...{ planar: 284, sampleFormat: 339 },
} as const;
const DEFAULTS: TiffTags = {
  ...{ width: 0, height: 0 },
  ...{ bits: 1, compression: 1, photometric: 1, samples: 1, planar: 1, sampleFormat: 1 },
};
const [MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR] = [0, 1, 2, 3, 5, 6];
const JPEG = 7;
/** None, fax (2 to 4), LZW, JPEG, Deflate (two numbers), PackBits. libvips has no others, and may give black then. */
const COMPRESSIONS = new Set([1, 2, 3, 4, 5, JPEG, 8, 32_946, 32_773]);

/** Fax codes take a bit for a blank row of any length. */
const FAX = [2, 3, 4];
/** Bytes that a byte of any other compression can stand for: LZW comes nearest, with 3,839 for 12 bits. */
const MAX_EXPANSION = 4096;
const [SHORT, LONG8] = [3, 16];

/** `UNSUPPORTED` for samples that libtiff and PIL read differently, or that one of them does not read. */
export function tiffKind(file: ImageBytes): TiffKind {
  const tags = readTags(file);
  requireSize(file, tags);
  const kind = kindOf(tags);
  if (kind !== undefined) return kind;
  const { bits, photometric, samples, sampleFormat, planar, compression } = tags;
  return file.unsupported(
    'a TIFF of 8 bits per sample, or 16 bits grey or RGB',
    `${samples} samples of ${bits} bits (sample format ${sampleFormat}), photometric ${photometric}, planar ${planar}, compression ${compression}`,
  );
}

/** libtiff allocates the size that the header says, whatever the file holds. */
function requireSize(
  file: ImageBytes,
  { width, height, bits, samples, compression }: TiffTags,
): void {
  const bytes = (width * height * bits * samples) / 8;
  const most = FAX.includes(compression) ? Number.POSITIVE_INFINITY : file.bytes.length;
  if (width <= MAX_SIDE && height <= MAX_SIDE && bytes <= most * MAX_EXPANSION) return;
  const expected = `sides of at most ${MAX_SIDE}, and pixels that ${file.bytes.length} bytes can hold`;
  file.fail('image size out of range', expected, `${height} x ${width}`);
}

function kindOf(tags: TiffTags): TiffKind | undefined {
  const { bits, photometric, samples, sampleFormat, planar, compression } = tags;
  if (!COMPRESSIONS.has(compression)) return undefined;
  const grey = photometric === MIN_IS_BLACK || photometric === MIN_IS_WHITE;
  if (sampleFormat !== 1) {
    // Signed integers and floating point: those of 32 bits, which PIL cuts at 0 and 255.
    return photometric === MIN_IS_BLACK && bits === 32 && samples === 1 ? 'plain' : undefined;
  }
  if (photometric === CMYK) return bits === 8 && samples === 4 && planar === 1 ? 'cmyk' : undefined;
  if (photometric === YCBCR) return bits === 8 && compression === JPEG ? 'plain' : undefined;
  if (photometric === RGB) {
    return bits === 8 || (bits === 16 && planar === 1 && samples >= 3) ? 'plain' : undefined;
  }
  if (photometric === PALETTE) return bits === 8 && samples === 1 ? 'plain' : undefined;
  if (!grey) return undefined;
  if (bits === 8 || (bits === 1 && samples === 1)) return 'plain';
  if (photometric !== MIN_IS_BLACK || samples !== 1) return undefined;
  if (bits === 32) return 'plain';
  return bits === 16 ? 'grey16' : undefined;
}

/** Tags of the first image. */
function readTags(file: ImageBytes): TiffTags {
  const little = file.u8(0) === 0x49;
  const big = file.u16(2, little) === 43;
  const start = big ? file.u64(8, little) : file.u32(4, little);
  const count = big ? file.u64(start, little) : file.u16(start, little);
  const entry = big ? 20 : 12;
  const first = start + (big ? 8 : 2);
  const found: Record<keyof TiffTags, number> = { ...DEFAULTS };
  for (let i = 0; i < Math.min(count, 65_535); i++) {
    const at = first + i * entry;
    const tag = file.u16(at, little);
    for (const [name, number] of Object.entries(TAGS)) {
      if (tag === number) found[name as keyof TiffTags] = firstValue(file, at, little, big);
    }
  }
  return found;
}

/** Value of a tag of whole numbers, or the first of its values if they lie elsewhere. */
function firstValue(file: ImageBytes, at: number, little: boolean, big: boolean): number {
  const type = file.u16(at + 2, little);
  const count = big ? file.u64(at + 4, little) : file.u32(at + 4, little);
  const field = at + (big ? 12 : 8);
  const bytes = type === SHORT ? 2 : type === LONG8 ? 8 : 4;
  const inside = bytes * count <= (big ? 8 : 4);
  const value = inside ? field : big ? file.u64(field, little) : file.u32(field, little);
  if (type === LONG8) return file.u64(value, little);
  return type === SHORT ? file.u16(value, little) : file.u32(value, little);
}
