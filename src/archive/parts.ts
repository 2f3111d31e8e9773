import { MAX_MANIFEST_BYTES } from '../container/shard-file.js';
import type { FieldChecker } from '../core/check.js';
import type { JsonValue } from '../core/json.js';
import { MAX_COUNT } from './agreement.js';
import type { ArchiveIdentity } from './identity.js';

/**
 * Further epochs of an archive, each range of them a whole archive in a folder of its own, with its own codec,
 * temperature and views. The manifest of the first epochs lists them.
 */

/** A part as the manifest lists it. */
export interface PartRecord {
  readonly folder: string;
  /** Epochs of the archive, [first, after the last]; the part counts its own from 0. */
  readonly epochs: readonly [number, number];
  /** Size and hash of its manifest, which has the hashes of all of its files. */
  readonly bytes: number;
  readonly sha256: string;
}

/** All of them are opened with the archive: three files each. */
const MAX_PARTS = 1000;
const PART_FOLDER = /^part-\d{5}$/;

export function isPartFolder(name: string): boolean {
  return PART_FOLDER.test(name);
}

/** The folder of part i, counted from 1: the first epochs are in the archive's own folder. */
export function partFolder(i: number): string {
  return `part-${String(i).padStart(5, '0')}`;
}

/** Parts must follow the archive's own epochs and each other, in folders of their own. */
export function checkParts(
  check: FieldChecker,
  value: JsonValue | undefined,
  { epochs, pruning }: ArchiveIdentity,
): readonly PartRecord[] {
  const list = check.list(value, 'parts');
  const fitting = list.length >= 1 && list.length <= MAX_PARTS;
  check.that(fitting, list.length, 'parts', `1 to ${MAX_PARTS} parts`);
  check.that(pruning === undefined, list.length, 'parts', 'none: rows are batches');
  const folders = new Set<string>();
  let next = epochs;
  return list.map((item, i) => {
    const at = `parts[${i}]`;
    const part = check.object(item, at);
    const folder = check.text(part.folder, `${at}.folder`, PART_FOLDER);
    check.that(!folders.has(folder), folder, `${at}.folder`, 'a folder of its own');
    folders.add(folder);
    const [begin, end] = check.range(part.epochs, `${at}.epochs`);
    const follows = begin === next && end <= MAX_COUNT;
    check.that(follows, [begin, end], `${at}.epochs`, `from ${next} on`);
    next = end;
    return {
      folder,
      epochs: [begin, end],
      bytes: check.count(part.bytes, `${at}.bytes`, 1, MAX_MANIFEST_BYTES),
      sha256: check.digest(part.sha256, `${at}.sha256`),
    };
  });
}

/** Epochs of the archive with those of its parts. */
export function allEpochs({
  epochs,
  parts,
}: Pick<ArchiveIdentity, 'epochs'> & { readonly parts?: readonly PartRecord[] }): number {
  return parts?.at(-1)?.epochs[1] ?? epochs;
}
