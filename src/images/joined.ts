import { createHash } from 'node:crypto';
import type { PixelSource } from '../augment/replay.js';
import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { throwIfStopped } from './decoded-images.js';
import type { ImageReader } from './image-reader.js';
import { isMemoryImages, type MemoryImages } from './memory.js';
import { describeImages, type ImageSource } from './source.js';

/** Images of several sources, one after the other: those of an archive to which samples were appended. */

/**
 * Images of several sources as one: the first source has the first sample ids. Classes are known if they are those of all
 * sources.
 */
export function joinImages(sources: readonly (ImageSource | MemoryImages)[]): ImageSource {
  argument.count(sources.length, 'sources.length', 1);
  const [first] = sources;
  const names = sources.map((one) => ('classNames' in one ? one.classNames : undefined));
  const isSame = names.every((one) => JSON.stringify(one) === JSON.stringify(names[0]));
  const targets = sources.map((one) => ('targets' in one ? one.targets : undefined));
  const known = targets.filter((one) => one !== undefined);
  const hasTargets = isSame && known.length === sources.length;
  const id = createHash('sha256');
  for (const source of sources) {
    id.update(`${isMemoryImages(source) ? 'memory' : source.id}:${source.count}\n`);
  }
  return {
    count: sources.reduce((sum, { count }) => sum + count, 0),
    ...(isSame && names[0] && { classNames: names[0] }),
    ...(hasTargets && { targets: Uint32Array.from(known.flatMap((one) => [...one])) }),
    id: sources.length === 1 && !isMemoryImages(first) ? first.id : id.digest('hex'),
    sections: sources,
    description: { kind: 'joined', sections: sources.map(describeImages) },
  };
}

/** The images of samples [from, to); undefined if no sources of `images` have exactly these. */
export function imagesOfRange(
  images: ImageSource | MemoryImages,
  [from, to]: readonly [number, number],
): ImageSource | MemoryImages | undefined {
  if (from === 0 && to === images.count) return images;
  const sections = isMemoryImages(images) ? [] : (images.sections ?? []);
  const found: (ImageSource | MemoryImages)[] = [];
  let at = 0;
  for (const section of sections) {
    if (at >= from && at + section.count <= to) found.push(section);
    at += section.count;
  }
  const count = found.reduce((sum, section) => sum + section.count, 0);
  if (count !== to - from) return undefined;
  return found.length === 1 ? found[0] : joinImages(found);
}

/** Reads the images of several readers, one after the other in sample ids. */
export class JoinedReader implements ImageReader {
  readonly count: number;
  readonly #readers: readonly ImageReader[];
  /** The first sample of each, ascending. */
  readonly #firsts: readonly number[];

  constructor(readers: readonly ImageReader[]) {
    this.#readers = readers;
    let count = 0;
    this.#firsts = readers.map((reader) => {
      count += reader.count;
      return count - reader.count;
    });
    this.count = count;
  }

  async read(samples: Uint32Array, stopped?: () => boolean): Promise<PixelSource> {
    const pixels: (PixelSource | undefined)[] = [];
    for (const [i, reader] of this.#readers.entries()) {
      throwIfStopped(stopped);
      const first = this.#firsts[i];
      const own = samples.filter((id) => id >= first && id < first + reader.count);
      if (own.length > 0)
        pixels[i] = await reader.read(
          own.map((id) => id - first),
          stopped,
        );
    }
    const at = (sample: number) => {
      const i = this.#firsts.findLastIndex((first) => first <= sample);
      const source = pixels[i];
      if (source !== undefined) return { source, sample: sample - this.#firsts[i] };
      const details = { field: 'samples', expected: `0 to ${this.count - 1}`, found: sample };
      throw new SoftpackError('INVALID_ARGUMENT', 'no such image', details);
    };
    return {
      count: this.count,
      sizeOf(id) {
        const { source, sample } = at(id);
        return source.sizeOf(sample);
      },
      pixels(id) {
        const { source, sample } = at(id);
        return source.pixels(sample);
      },
    };
  }

  [Symbol.dispose](): void {
    for (const reader of this.#readers) reader[Symbol.dispose]();
  }
}
