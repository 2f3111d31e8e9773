import { SoftpackError } from '../errors.js';
import type { ImageSource } from '../images/source.js';
import { textAt } from '../images/text-table.js';

/** Paths of images by sample id; label files of other projects are named after them. */
export function namesOf({ description }: ImageSource): readonly string[] {
  if (description.kind === 'files') {
    const { names } = description;
    return Array.from({ length: names.count }, (_, i) => textAt(names, i));
  }
  throw new SoftpackError('UNSUPPORTED', 'labels are named after image files', {
    field: 'images',
    expected: 'a folder or a list of images',
    found: 'packed images, which keep no names',
  });
}
