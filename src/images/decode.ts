import sharp, { type Sharp } from 'sharp';
import { MAX_SIDE } from '../core/limits.js';
import { SoftpackError } from '../errors.js';

/** What becomes of an image's size when it is decoded. Smaller images are never enlarged by `short-side`. */
export type ImageFit =
  /** The shorter side shrunk to this many pixels, the ratio kept. */
  | { readonly kind: 'short-side'; readonly pixels: number }
  /** Height and width exactly: resized to cover them, then cut around the centre. */
  | { readonly kind: 'exact'; readonly size: readonly [number, number] };

/** uint8 [height, width, 3], red green blue. */
export interface DecodedImage {
  readonly pixels: Uint8Array;
  readonly height: number;
  readonly width: number;
}

/**
 * Settings of libvips for decoding many images once each, for the whole process: one thread an image (several
 * images are decoded side by side instead), and no cache of results (an image comes again an epoch later).
 */
export function prepareDecoder(): void {
  sharp.concurrency(1);
  sharp.cache(false);
}

/**
 * Decodes JPEG, PNG, WebP, AVIF, GIF or TIFF as torchvision's folder loader does: RGB without alpha, greyscale
 * repeated thrice, orientation tags ignored.
 *
 * @param name For error messages: what the bytes are of.
 * @throws `INVALID_FILE` if it is no image, or a damaged one.
 */
export async function decodeImage(
  encoded: Uint8Array,
  name: string,
  fit?: ImageFit,
): Promise<DecodedImage> {
  const { data, info } = await pipeline(encoded, fit)
    .raw()
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => {
      throw notAnImage(name, cause);
    });
  const { height, width, channels } = info;
  if (channels !== 3 || height > MAX_SIDE || width > MAX_SIDE) {
    throw new SoftpackError('UNSUPPORTED', 'not an image that can be used', {
      field: name,
      expected: `3 channels, sides of at most ${MAX_SIDE}`,
      found: `${channels} channels, ${height} x ${width}`,
    });
  }
  return { pixels: data, height, width };
}

/** A JPEG of the decoded image; `quality` as libjpeg counts it, 1 to 100. */
export async function encodeJpeg(
  encoded: Uint8Array,
  name: string,
  quality: number,
  fit?: ImageFit,
): Promise<{ readonly bytes: Uint8Array; readonly height: number; readonly width: number }> {
  const { data, info } = await pipeline(encoded, fit)
    .jpeg({ quality, chromaSubsampling: quality >= 90 ? '4:4:4' : '4:2:0' })
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => {
      throw notAnImage(name, cause);
    });
  return { bytes: data, height: info.height, width: info.width };
}

/** What an encoded image is, from its header alone. */
export async function probeImage(
  encoded: Uint8Array,
  name: string,
): Promise<{ readonly format: string; readonly height: number; readonly width: number }> {
  const { format, height, width } = await sharp(encoded)
    .metadata()
    .catch((cause: unknown) => {
      throw notAnImage(name, cause);
    });
  return { format, height, width };
}

function pipeline(encoded: Uint8Array, fit: ImageFit | undefined): Sharp {
  const image = sharp(encoded, { failOn: 'error', sequentialRead: true });
  const resized = fit === undefined ? image : resize(image, fit);
  return resized.toColourspace('srgb').removeAlpha();
}

function resize(image: Sharp, fit: ImageFit): Sharp {
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

function notAnImage(name: string, cause: unknown): SoftpackError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new SoftpackError('INVALID_FILE', `not an image that can be decoded: ${message}`, {
    field: name,
    cause,
  });
}
