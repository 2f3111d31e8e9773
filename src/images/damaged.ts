import { resolve } from 'node:path';
import { errorMessage, isSoftpackError, SoftpackError, throwIfAborted } from '../errors.js';
import { decodeImage } from './decode.js';
import { fileImages } from './file-images.js';
import { readImageFile } from './image-file.js';
import type { FilesDescription, ImageSource } from './source.js';
import { textAt } from './text-table.js';

export interface DamagedImage {
  readonly path: string;
  /** Description of the damage. */
  readonly reason: string;
}

export interface FindDamagedOptions {
  /** First sample to look at. */
  readonly first?: number;
  readonly concurrency: number;
  readonly onProgress?: (done: number) => void;
  readonly signal?: AbortSignal;
}

/** Samples whose files cannot be decoded, and why; errors of the system are thrown. */
export async function findDamaged(
  { root, names }: FilesDescription,
  { first = 0, concurrency, onProgress, signal }: FindDamagedOptions,
): Promise<ReadonlyMap<number, DamagedImage>> {
  const found = new Map<number, DamagedImage>();
  let [next, done] = [first, first];
  const lookAtSome = async () => {
    while (next < names.count) {
      const sample = next++;
      throwIfAborted(signal);
      const path = resolve(root, textAt(names, sample));
      try {
        await decodeImage(await readImageFile(path), path);
      } catch (error) {
        if (!isDamage(error)) throw error;
        found.set(sample, { path, reason: errorMessage(error) });
      }
      onProgress?.(++done);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lookAtSome));
  return new Map([...found].sort(([a], [b]) => a - b));
}

/** Whether an error says that a file is no image that can be decoded. */
function isDamage(error: unknown): error is SoftpackError {
  const codes = ['INVALID_FILE', 'UNSUPPORTED', 'NOT_FOUND'];
  return isSoftpackError(error) && codes.includes(error.code);
}

/** An error of decoding one image as an error that names all damaged ones, found by decoding them all; others unchanged. */
export async function namingAllDamaged(
  error: unknown,
  files: FilesDescription,
  options: FindDamagedOptions,
): Promise<unknown> {
  if (!isDamage(error)) return error;
  const damaged = [...(await findDamaged(files, options)).values()];
  return damaged.length > 1 ? damagedError(damaged) : error;
}

function damagedError(damaged: readonly DamagedImage[]): SoftpackError {
  const lines = damaged.map(({ reason }) => `\n  ${reason}`).join('');
  const message = `${damaged.length} images cannot be decoded; mend or remove them, or leave them out with pack-images --skip-damaged:${lines}`;
  return new SoftpackError('INVALID_FILE', message, { field: damaged[0].path });
}

/** The images without some of them. `INVALID_FILE` if none is left, or none of a class. */
export function withoutImages(
  { classNames, targets, skipped }: ImageSource,
  { root, names, fit }: FilesDescription,
  damaged: ReadonlyMap<number, DamagedImage>,
): ImageSource {
  const kept = Array.from({ length: names.count }, (_, i) => i).filter((i) => !damaged.has(i));
  const left = new Set(kept.map((i) => targets?.[i]));
  const emptied = targets?.find((target) => !left.has(target));
  if (kept.length === 0 || emptied !== undefined) {
    const of = emptied === undefined ? '' : ` of class ${classNames?.[emptied] ?? emptied}`;
    throw new SoftpackError('INVALID_FILE', `every image${of} is damaged`, { field: root });
  }
  const paths = kept.map((i) => textAt(names, i));
  const ofKept = targets && kept.map((i) => targets[i]);
  const source = fileImages(root, paths, { fit, classNames, targets: ofKept });
  return { ...source, ...(skipped && { skipped }) };
}
