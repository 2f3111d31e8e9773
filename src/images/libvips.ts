import type sharp from 'sharp';
import { optionalPackage } from '../core/optional-package.js';

/** libvips, through sharp. */
export type Libvips = typeof sharp;

/**
 * Loaders of libvips other than JPEG, PNG, WebP, TIFF and HEIF (AVIF): files that pass for an allowed format are decoded
 * by nothing else. Named one by one, since libvips has one list per process: "block all, then unblock some" would make the
 * decoding of other threads fail meanwhile. Names that a build of libvips lacks have no effect.
 */
const BLOCKED_LOADERS = [
  ...[
    'Analyze',
    'Csv',
    'DcRaw',
    'Fits',
    'Jp2k',
    'Jxl',
    'Magick',
    'Magick7',
    'Mat',
    'Matrix',
    'Nifti',
  ],
  ...['Nsgif', 'Openexr', 'Openslide', 'Pdf', 'Ppm', 'Rad', 'Raw', 'Svg', 'Uhdr', 'Vips'],
].map((name) => `VipsForeignLoad${name}`);

let loading: Promise<Libvips> | undefined;

/**
 * Loads sharp, an optional package and slow to load, on first use and sets up libvips for the whole process: one thread per image
 * (several images are decoded concurrently instead), no cache of results (an image is not needed again until the next epoch),
 * and no loaders but those of the formats that softpack reads. A program that reads other formats by sharp, e.g. SVG, allows
 * them again by `sharp.unblock`.
 *
 * @throws `TOOL_MISSING` if sharp is not installed.
 */
export function loadLibvips(): Promise<Libvips> {
  loading ??= optionalPackage('sharp', 'Image files', () => import('sharp')).then(
    ({ default: libvips }) => {
      libvips.concurrency(1);
      libvips.cache(false);
      libvips.block({ operation: [...BLOCKED_LOADERS] });
      return libvips;
    },
  );
  return loading;
}
