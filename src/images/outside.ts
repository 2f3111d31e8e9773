import { realpath } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { SoftpackError } from '../errors.js';

/**
 * Refuses an output folder inside the images: the next run would take it for a class, or for images.
 *
 * @param images folder or file given as the images.
 */
export async function requireOutside(out: string, images: string, field = 'out'): Promise<void> {
  const [inner, outer] = [await realPathOf(out), await realPathOf(images)];
  const path = relative(outer, inner);
  if (path === '') {
    const details = { field, expected: 'a new folder', found: out };
    throw new SoftpackError('ALREADY_EXISTS', 'output folder is that of the images', details);
  }
  if (path.startsWith(`..${sep}`) || path === '..' || resolve(path) === path) return;
  throw new SoftpackError(
    'INVALID_ARGUMENT',
    'output lies inside the images; name another folder',
    {
      field,
      expected: `a folder outside ${images}`,
      found: out,
    },
  );
}

/** The path without symbolic links, as far as it exists. */
async function realPathOf(path: string): Promise<string> {
  const whole = resolve(path);
  try {
    return await realpath(whole);
  } catch {
    const parent = dirname(whole);
    return parent === whole ? whole : join(await realPathOf(parent), relative(parent, whole));
  }
}
