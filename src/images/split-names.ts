import { join } from 'node:path';
import { SoftpackError } from '../errors.js';
import { isImageName } from './file-names.js';

/** Usual names of a data set's parts, in any case, with a year or a word after them. */
const SPLIT =
  /^(train|training|val|valid|validation|test|testing|dev|eval|evaluation|holdout)(\d*|[-_. ].*)$/i;
/** Only these may be meant when they hold images themselves: `test_tube` may be a class. */
const BARE_SPLIT = /^(train|training|val|valid|validation|test|testing|dev|eval)\d*$/i;

export function isSplitName(name: string): boolean {
  return SPLIT.test(name);
}

/** The names that are splits, unless there is only one among others: a class may be called `train`. */
export function splitsAmong(folders: readonly string[]): readonly string[] {
  const found = folders.filter((name) => BARE_SPLIT.test(name));
  return found.length > 1 || found.length === folders.length ? found : [];
}

export function splitsError(root: string, names: readonly string[]): SoftpackError {
  const message = 'folder contains dataset splits, not classes; choose one with --split (split)';
  return new SoftpackError('INVALID_ARGUMENT', message, {
    field: 'split',
    expected: names.join(' or '),
    found: names.map((name) => join(root, name)).join(', '),
  });
}

/** `data/train` and `data/val` must not become one class `data`. */
export function requireNoSplitsWithin(
  path: string,
  { folders, files }: { readonly folders: readonly string[]; readonly files: readonly string[] },
): void {
  const splits = splitsAmong(folders);
  if (splits.length > 1 && !files.some(isImageName)) throw splitsError(path, splits);
}
