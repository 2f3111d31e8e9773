import type { LabelArchive } from '../archive/archive.js';
import type { Manifest } from '../archive/manifest.js';
import { partExtents } from '../archive/parts.js';
import { isJsonObject } from '../core/json.js';
import { SoftpackError } from '../errors.js';
import type { ImageFit } from '../images/decode.js';
import { imagesFingerprint, mayBeSameImages } from '../images/fingerprint.js';
import { imagesOfRange, joinImages } from '../images/joined.js';
import { isMemoryImages, type MemoryImages } from '../images/memory.js';
import { openImages } from '../images/open.js';
import type { ImageSource } from '../images/source.js';

/**
 * The images at a path that an archive's labels belong to, decoded as they were for the teacher: `openImages` with
 * the size that the archive records. Several paths are those of an archive to which samples were appended, in order.
 *
 * @throws what `openImages` throws, and `INVALID_ARGUMENT` if they are other images.
 */
export async function openImagesOf(
  archive: LabelArchive,
  path: string | readonly string[],
  { split }: { readonly split?: string } = {},
): Promise<ImageSource> {
  const open = (one: string, { images: recorded }: Manifest) => {
    const fit = (recorded?.fit ?? undefined) as ImageFit | undefined;
    return openImages(one, { split, fit, packed: 'as-they-are' });
  };
  const images =
    typeof path === 'string'
      ? await open(path, archive.manifest)
      : await openSections(archive, path, open);
  requireImagesOf(archive, images);
  await requireContentOf(archive, images);
  return images;
}

async function openSections(
  archive: LabelArchive,
  paths: readonly string[],
  open: (path: string, manifest: Manifest) => Promise<ImageSource>,
): Promise<ImageSource> {
  const sections: ImageSource[] = [];
  let at = 0;
  for (const path of paths) {
    const { archive: part } = archive.partOf(0, Math.min(at, archive.samples - 1));
    const section = await open(path, part.manifest);
    sections.push(section);
    at += section.count;
  }
  return joinImages(sections);
}

/** Labels of other images would silently train a student on noise. */
export function requireImagesOf(archive: LabelArchive, images: ImageSource | MemoryImages): void {
  const samples = archive.manifest.pruning?.samples ?? archive.samples;
  if (images.count !== samples) {
    throw new SoftpackError('INVALID_ARGUMENT', 'not the images of this archive', {
      field: 'images',
      expected: `${samples} images`,
      found: images.count,
    });
  }
  for (const { manifest, images: own } of imagesOfParts(archive, images)) {
    const id = manifest.images?.id;
    if (id === undefined || isMemoryImages(own) || own.id === id) continue;
    throw new SoftpackError(
      'INVALID_ARGUMENT',
      'not the images of this archive, or decoded otherwise',
      {
        field: 'images',
        expected: `id ${id}, fit ${JSON.stringify(manifest.images?.fit ?? null)}`,
        found: `id ${own.id}`,
      },
    );
  }
}

/** Each part with the images of its samples; `INVALID_ARGUMENT` if they are known and not images of their own. */
function imagesOfParts(archive: LabelArchive, images: ImageSource | MemoryImages) {
  if (archive.samples === archive.manifest.samples) return [{ manifest: archive.manifest, images }];
  return partExtents(archive.manifest).flatMap(({ samples }, i) => {
    const { manifest } = archive.parts[i];
    const own = imagesOfRange(images, samples);
    if (own !== undefined) return [{ manifest, images: own }];
    if (manifest.images?.id === undefined || isMemoryImages(images)) return [];
    throw new SoftpackError('INVALID_ARGUMENT', 'samples were appended with images of their own', {
      field: 'images',
      expected: `images joined of several sources, one of them samples ${samples[0]} to ${samples[1] - 1}`,
      found: `id ${images.id}`,
    });
  });
}

/** Sources whose files have been compared with an archive's, which happens once. */
const compared = new WeakMap<object, Set<string>>();

/** Compares the images' content with what the archive recorded: other pixels under the same names are refused. */
export async function requireContentOf(
  archive: LabelArchive,
  images: ImageSource | MemoryImages,
): Promise<void> {
  for (const part of imagesOfParts(archive, images)) await requireContent(part);
}

async function requireContent({
  manifest,
  images,
}: {
  readonly manifest: Manifest;
  readonly images: ImageSource | MemoryImages;
}): Promise<void> {
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
