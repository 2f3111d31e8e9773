import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SoftpackError } from '../errors.js';
import { namesIn } from './layouts/files.js';
import { LAYOUT_NAMES, LAYOUTS, type Layout } from './layouts/label-set.js';

/**
 * Layout of a folder of label files, by the names in it; no file is opened.
 *
 * @throws `INVALID_FILE` if the names are none of these.
 */
export async function detectLayout(folder: string): Promise<Layout> {
  const names = await namesIn(folder);
  const has = (pattern: RegExp) => names.some((name) => pattern.test(name));
  if (has(/^logits_top\d+_epoch\d+$/)) return 'tinyvit';
  if (has(/^sampler_indices_batch\.json$/)) return 'lpqld';
  if (has(/^sampler_indices_epoch\.json$/)) return 'lpld';
  if (has(/^sampler_indices_dict\.pt$/)) return 'hald';
  if (has(/^epoch_\d+$/)) return 'sre2l';
  if (await hasImageLabels(folder, names)) return 'fkd';
  throw new SoftpackError('INVALID_FILE', 'not a known layout of label files', {
    field: folder,
    expected: LAYOUTS.map((layout) => LAYOUT_NAMES[layout]).join(', '),
    found: names.slice(0, 5).join(', ') || 'an empty folder',
  });
}

/** FKD keeps a file an image in folders of classes. */
async function hasImageLabels(folder: string, names: readonly string[]): Promise<boolean> {
  for (const name of names) {
    const below = await readdir(join(folder, name)).catch((): string[] => []);
    if (below.some((file) => file.endsWith('.tar'))) return true;
  }
  return false;
}
