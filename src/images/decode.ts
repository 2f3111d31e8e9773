import type { Sharp } from 'sharp';
import { MAX_SIDE } from '../core/limits.js';
import { errorMessage, SoftpackError } from '../errors.js';
import { decodeBmp } from './formats/bmp.js';
import { cmykToRgb, grey16ToRgb } from './formats/colours.js';
import { decodeGif } from './formats/gif.js';
import { type DecodedImage, ImageBytes, MAX_PIXELS } from './formats/image-bytes.js';
import { jpegComponents } from './formats/jpeg-header.js';
import { pngIsGrey16 } from './formats/png-header.js';
import { decodePnm } from './formats/pnm.js';
import { type ImageFormat, imageFormat } from './formats/sniff.js';
import { tiffKind } from './formats/tiff-header.js';
import { type Libvips, loadLibvips } from './libvips.js';

export type { DecodedImage };

/** Size to decode an image to. Smaller images are never enlarged by `short-side`. */
export type ImageFit =
  /** The shorter side is shrunk to this many pixels; the aspect ratio is kept. */
  | { readonly kind: 'short-side'; readonly pixels: number }
  /** Exact height and width: resized to cover them, then cropped around the centre. */
  | { readonly kind: 'exact'; readonly size: readonly [number, number] };

/**
 * Decodes JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP or PPM to the pixels of PIL's `Image.open(file).convert('RGB')`, which is
 * what torchvision's image folders give: embedded profiles and alpha are ignored, the orientation tag of TIFF is applied
 * and that of other formats is not, grey is repeated for each channel. See docs/loader.md for what differs.
 *
 * @param name Source of the bytes, for error messages.
 * @throws `INVALID_FILE` if it is not an image, or a damaged one, `UNSUPPORTED` for a TIFF or bitmap of an unusual kind,
 *   `TOOL_MISSING` if sharp is not installed.
 */
export async function decodeImage(
  encoded: Uint8Array,
  name: string,
  fit?: ImageFit,
): Promise<DecodedImage> {
  const file = new ImageBytes(encoded, name);
  const format = requireFormat(file);
  const libvips = await loadLibvips();
  // Only here can decoding and resizing be one step: other formats may have alpha, which would weight the colours.
  if (format === 'jpeg' && jpegComponents(file) !== 4)
    return rgbOf(resize(open(libvips, file), fit), name);
  const image = await decodeWhole(libvips, file, format);
  return fit === undefined ? image : rgbOf(resize(fromPixels(libvips, image), fit), name);
}

/** A JPEG of the decoded image; `quality` as libjpeg counts it, 1 to 100. */
export async function encodeJpeg(
  encoded: Uint8Array,
  name: string,
  quality: number,
  fit?: ImageFit,
): Promise<{ readonly bytes: Uint8Array; readonly height: number; readonly width: number }> {
  const image = await decodeImage(encoded, name, fit);
  const { height, width } = image;
  return { bytes: await encodePixels(image, { jpeg: quality }), height, width };
}

/** `png`, which keeps every pixel, or JPEG of a quality as libjpeg counts it, 1 to 100. */
export type PixelFormat = 'png' | { readonly jpeg: number };

export async function encodePixels(image: DecodedImage, format: PixelFormat): Promise<Uint8Array> {
  const pixels = fromPixels(await loadLibvips(), image);
  if (format === 'png') return pixels.png({ compressionLevel: 9 }).toBuffer();
  const quality = format.jpeg;
  const chromaSubsampling = quality >= 90 ? '4:4:4' : '4:2:0';
  return pixels.jpeg({ quality, chromaSubsampling }).toBuffer();
}

/** Whether the bytes begin like a JPEG. */
export function isJpeg(encoded: Uint8Array): boolean {
  return imageFormat(encoded) === 'jpeg';
}

function requireFormat(file: ImageBytes): ImageFormat {
  const format = imageFormat(file.bytes);
  if (format !== undefined) return format;
  return file.fail('not an image', 'JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP or PPM');
}

async function decodeWhole(
  libvips: Libvips,
  file: ImageBytes,
  format: ImageFormat,
): Promise<DecodedImage> {
  switch (format) {
    case 'bmp':
      return decodeBmp(file);
    case 'pnm':
      return decodePnm(file);
    case 'gif':
      return decodeGif(file);
    case 'jpeg':
      return cmykOf(open(libvips, file), file.name);
    case 'png':
      return pngIsGrey16(file)
        ? grey16Of(open(libvips, file), file.name)
        : rgbOf(open(libvips, file), file.name);
    case 'tiff': {
      const kind = tiffKind(file);
      const image = open(libvips, file).autoOrient();
      if (kind === 'cmyk') return cmykOf(image, file.name);
      return kind === 'grey16' ? grey16Of(image, file.name) : rgbOf(image, file.name);
    }
    case 'webp':
    case 'avif':
      return rgbOf(open(libvips, file), file.name);
  }
}

function open(libvips: Libvips, { bytes }: ImageBytes): Sharp {
  const limits = { failOn: 'error', limitInputPixels: MAX_PIXELS } as const;
  return libvips(bytes, { ...limits, sequentialRead: true, ignoreIcc: true });
}

function fromPixels(libvips: Libvips, { pixels, height, width }: DecodedImage): Sharp {
  return libvips(pixels, { raw: { height, width, channels: 3 }, limitInputPixels: MAX_PIXELS });
}

async function rgbOf(image: Sharp, name: string): Promise<DecodedImage> {
  return raw(image.toColourspace('srgb').removeAlpha(), name, 3);
}

async function cmykOf(image: Sharp, name: string): Promise<DecodedImage> {
  const inks = image.pipelineColourspace('cmyk').toColourspace('cmyk');
  const { pixels, height, width } = await raw(inks, name, 4);
  return { pixels: cmykToRgb(pixels), height, width };
}

async function grey16Of(image: Sharp, name: string): Promise<DecodedImage> {
  const grey = image.removeAlpha().toColourspace('grey16');
  const { pixels, height, width } = await raw(grey, name, 1, 'ushort');
  return { pixels: grey16ToRgb(pixels), height, width };
}

async function raw(
  image: Sharp,
  name: string,
  wanted: number,
  depth: 'uchar' | 'ushort' = 'uchar',
): Promise<DecodedImage> {
  const { data, info } = await image
    .raw({ depth })
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => {
      const details = { field: name, cause };
      const message = `not an image that can be decoded: ${errorMessage(cause)}`;
      throw new SoftpackError('INVALID_FILE', message, details);
    });
  const { height, width, channels } = info;
  if (channels !== wanted || height > MAX_SIDE || width > MAX_SIDE) {
    throw new SoftpackError('UNSUPPORTED', 'image of a kind that cannot be read', {
      field: name,
      expected: `${wanted} channels, sides of at most ${MAX_SIDE}`,
      found: `${channels} channels, ${height} x ${width}`,
    });
  }
  return { pixels: data, height, width };
}

function resize(image: Sharp, fit: ImageFit | undefined): Sharp {
  if (fit === undefined) return image;
  const common = { fastShrinkOnLoad: false } as const;
  if (fit.kind === 'exact') {
    const [height, width] = fit.size;
    return image.resize({ height, width, fit: 'cover', ...common });
  }
  const { pixels } = fit;
  return image.resize({
    ...{ height: pixels, width: pixels, fit: 'outside', withoutEnlargement: true },
    ...common,
  });
}
