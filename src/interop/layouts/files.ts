import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { invalidFile, SoftpackError } from '../../errors.js';
import { onFile } from '../../store/file-error.js';

/** Names in a folder, in no order. */
export function namesIn(folder: string): Promise<readonly string[]> {
  return onFile(folder, () => readdir(folder));
}

/**
 * Names with a number, in order of the number (`epoch_2` before `epoch_10`), which must count from 0 without a gap:
 * a missing file would shift the labels of all later ones.
 */
export function numbered(
  folder: string,
  names: readonly string[],
  pattern: RegExp,
): readonly string[] {
  const found: string[] = [];
  let count = 0;
  for (const name of names) {
    const match = pattern.exec(name);
    if (match === null) continue;
    found[Number(match[1])] = name;
    count += 1;
  }
  const missing = Array.from({ length: count }, (_, i) => i).find((i) => found[i] === undefined);
  if (count > 0 && missing === undefined) return found;
  throw new SoftpackError('NOT_FOUND', 'files are missing', {
    field: folder,
    expected: `${pattern.source} from 0 on, without a gap`,
    found: count === 0 ? 'none' : `${count}, but not number ${missing}`,
  });
}

export function paths(folder: string, names: readonly string[]): readonly string[] {
  return names.map((name) => join(folder, name));
}

/** Ids of images, each below `samples`. */
export function requireIds(
  file: string,
  field: string,
  value: unknown,
  samples: number,
): Uint32Array {
  if (!Array.isArray(value)) {
    throw invalidFile(file, field, 'not a list of image ids', { expected: 'a list', found: value });
  }
  const wrong = value.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= samples);
  if (wrong < 0) return Uint32Array.from(value);
  throw invalidFile(file, `${field}[${wrong}]`, 'no such image', {
    expected: `an id below ${samples}, the number of images`,
    found: value[wrong],
  });
}
