import sharp, { type Sharp } from 'sharp';
import { asNotFound, invalidFile } from '../files/random-access.js';

/** How files become pixels: part of what an archive's labels belong to. */
export interface DecodeRule {
  /**
   * Images whose shorter side is longer are made smaller, to this many pixels, by sharp's Lanczos filter. Views are
   * cut out bilinearly, which is free of aliasing down to half the size: twice the views' size loses nothing.
   */
  readonly shorterSide?: number;
  /** Colour behind transparent images, 0 to 255; white by default. */
  readonly background?: readonly [number, number, number];
}

const WHITE = [255, 255, 255] as const;

/** Height and width, pixels, of a file's decoded image; reads its header. */
export async function decodedSize(
  path: string,
  { shorterSide }: DecodeRule,
): Promise<readonly [number, number]> {
  const { autoOrient } = await attempt(path, () => open(path).metadata());
  const { height, width } = autoOrient;
  if (shorterSide === undefined || Math.min(height, width) <= shorterSide) return [height, width];
  const scale = shorterSide / Math.min(height, width);
  return [Math.round(height * scale), Math.round(width * scale)];
}

/**
 * Decodes a file to uint8 [height, width, 3] of sRGB: upright by its EXIF orientation, the first page of several,
 * grey and CMYK turned into colours, transparent parts laid on the rule's background.
 *
 * @param size what {@link decodedSize} gave for the file.
 */
export async function decodeImage(
  path: string,
  size: readonly [number, number],
  { background: [r, g, b] = WHITE }: DecodeRule,
): Promise<Uint8Array> {
  const [height, width] = size;
  const { data, info } = await attempt(path, () =>
    open(path)
      .autoOrient()
      .flatten({ background: { r, g, b } })
      .resize(width, height, { fit: 'fill' })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true }),
  );
  if (info.channels === 3) return data;
  throw invalidFile(path, 'channels', 'not a colour image', { expected: 3, found: info.channels });
}

/** Warnings of a decoder pass, as they are common in large collections; damage does not. */
function open(path: string): Sharp {
  return sharp(path, { failOn: 'error' });
}

async function attempt<T>(path: string, decode: () => Promise<T>): Promise<T> {
  try {
    return await decode();
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (/missing|No such file/i.test(message)) throw asNotFound(path, { code: 'ENOENT' });
    throw invalidFile(path, 'image', 'cannot be decoded', { found: message, cause });
  }
}
