import { join } from 'node:path';
import { isImageName } from './file-names.js';
import { entriesOf } from './listing.js';
import { isSplitName, splitsAmong, splitsError } from './split-names.js';

/**
 * `train` and `val` as classes would silently give a wrong data set. A class may be called `train`, too: then images
 * lie in it, and no second split is next to it.
 *
 * @throws `INVALID_ARGUMENT` naming the splits among the folders.
 */
export async function requireNoSplits(root: string, folders: readonly string[]): Promise<void> {
  const found = new Set(splitsAmong(folders));
  for (const name of folders.filter(isSplitName)) {
    if (await holdsFoldersAlone(join(root, name))) found.add(name);
  }
  if (found.size > 0)
    throw splitsError(
      root,
      folders.filter((name) => found.has(name)),
    );
}

/** Splits are folders of folders; classes hold images. */
async function holdsFoldersAlone(folder: string): Promise<boolean> {
  const { folders, files } = await entriesOf(folder);
  return folders.length > 0 && !files.some(isImageName);
}
