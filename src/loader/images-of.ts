import type { LabelArchive } from '../archive/archive.js';
import { SoftpackError } from '../errors.js';
import type { ImageFit } from '../images/decode.js';
import { isMemoryImages, type MemoryImages } from '../images/memory.js';
import { openImages } from '../images/open.js';
import type { ImageSource } from '../images/source.js';

/**
 * The images at a path that an archive's labels belong to, decoded as they were for the teacher: `openImages` with
 * the size that the archive records.
 *
 * @throws what `openImages` throws, and `INVALID_ARGUMENT` if they are other images.
 */
export async function openImagesOf(
  archive: LabelArchive,
  path: string,
  { split }: { readonly split?: string } = {},
): Promise<ImageSource> {
  const { images: recorded } = archive.manifest;
  const fit = (recorded?.fit ?? undefined) as ImageFit | undefined;
  const images = await openImages(path, { split, fit, packed: 'as-they-are' });
  requireImagesOf(archive, images);
  return images;
}

/** Labels of other images would train a student on noise without a word. */
export function requireImagesOf(archive: LabelArchive, images: ImageSource | MemoryImages): void {
  const { manifest, samples } = archive;
  if (images.count !== samples) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not the images of this archive', {
      field: 'images',
      expected: `${samples} images`,
      found: images.count,
    });
  }
  const id = manifest.images?.id;
  if (id === undefined || isMemoryImages(images) || images.id === id) return;
  throw new SoftpackError(
    'INVALID_ARGUMENT',
    'not the images of this archive, or decoded otherwise',
    {
      field: 'images',
      expected: `id ${id}, fit ${JSON.stringify(manifest.images?.fit ?? null)}`,
      found: `id ${images.id}`,
    },
  );
}
