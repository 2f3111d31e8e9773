import type { LabelArchive } from '../archive/archive.js';
import { isJsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import type { ImageFit } from '../images/decode.js';
import { imagesFingerprint, mayBeSameImages } from '../images/fingerprint.js';
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
  await requireContentOf(archive, images);
  return images;
}

/** Labels of other images would silently train a student on noise. */
export function requireImagesOf(archive: LabelArchive, images: ImageSource | MemoryImages): void {
  const { manifest } = archive;
  const samples = manifest.pruning?.samples ?? archive.samples;
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

/** Sources whose files have been compared with an archive's, which happens once. */
const compared = new WeakMap<object, Set<string>>();

/** Compares the images' content with what the archive recorded: other pixels under the same names are refused. */
export async function requireContentOf(
  { manifest }: LabelArchive,
  images: ImageSource | MemoryImages,
): Promise<void> {
  const recorded = manifest.images?.fingerprint;
  const done = compared.get(images) ?? new Set();
  if (!isJsonObject(recorded) || done.has(manifest.archiveId)) return;
  const found = await imagesFingerprint(images);
  if (!mayBeSameImages(recorded, found)) {
    const message = 'other images under the names that the labels were made of';
    throw new SoftpackError('INVALID_ARGUMENT', message, {
      field: 'images',
      expected: `fingerprint ${JSON.stringify(recorded)}`,
      found: `fingerprint ${JSON.stringify(found)}`,
    });
  }
  compared.set(images, done.add(manifest.archiveId));
}
