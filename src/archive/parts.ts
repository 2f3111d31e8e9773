import { MAX_MANIFEST_BYTES } from '../container/shard-file.js';
import type { FieldChecker } from '../core/check.js';
import { isJsonObject, type JsonValue } from '../core/json.js';
import { MAX_COUNT } from './agreement.js';
import type { ArchiveIdentity } from './identity.js';

/**
 * Further epochs and samples of an archive, each rectangle of them a whole archive in a folder of its own, with its own
 * codec, temperature and views. The manifest of the first ones lists them.
 */

/** Epochs x samples of an archive; both are [first, after the last]. */
export interface PartExtent {
  readonly epochs: readonly [number, number];
  readonly samples: readonly [number, number];
}

/** A part as the manifest lists it. */
export interface PartRecord {
  readonly folder: string;
  /** Epochs of the archive, [first, after the last]; the part counts its own from 0. */
  readonly epochs: readonly [number, number];
  /** Samples of the archive, likewise; absent if they are those of the archive's own epochs. */
  readonly samples?: readonly [number, number];
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

type Owner = Pick<ArchiveIdentity, 'epochs' | 'samples'> & {
  readonly parts?: readonly PartRecord[];
};

/** The archive's own epochs and samples. */
function ownExtent({ epochs, samples }: Owner): PartExtent {
  return { epochs: [0, epochs], samples: [0, samples] };
}

/** What a part of the archive holds. */
export function partExtent(
  owner: Owner,
  { epochs, samples }: Pick<PartRecord, 'epochs' | 'samples'>,
): PartExtent {
  return { epochs, samples: samples ?? [0, owner.samples] };
}

/** Its own epochs and samples, then those of its parts. */
export function partExtents(owner: Owner): readonly PartExtent[] {
  return [ownExtent(owner), ...(owner.parts ?? []).map((part) => partExtent(owner, part))];
}

/** Epochs of the archive with those of its parts. */
export function allEpochs(owner: Owner): number {
  return Math.max(...partExtents(owner).map(({ epochs }) => epochs[1]));
}

/** Samples of the archive with those of its parts. */
export function allSamples(owner: Owner): number {
  return Math.max(...partExtents(owner).map(({ samples }) => samples[1]));
}

/** Whether samples were added to those of the archive's own epochs. */
export function hasSampleParts(parts: readonly PartRecord[] = []): boolean {
  return parts.some(({ samples }) => samples !== undefined);
}

/** Parts must follow the archive's own epochs and each other, or cover all epochs x samples, in folders of their own. */
export function checkParts(
  check: FieldChecker,
  value: JsonValue | undefined,
  owner: ArchiveIdentity,
): readonly PartRecord[] {
  const list = check.list(value, 'parts');
  const fitting = list.length >= 1 && list.length <= MAX_PARTS;
  check.that(fitting, list.length, 'parts', `1 to ${MAX_PARTS} parts`);
  check.that(owner.pruning === undefined, list.length, 'parts', 'none: rows are batches');
  const folders = new Set<string>();
  const isOrdered = list.every((item) => !isJsonObject(item) || item.samples === undefined);
  let next = owner.epochs;
  const parts = list.map((item, i): PartRecord => {
    const at = `parts[${i}]`;
    const part = check.object(item, at);
    const folder = check.text(part.folder, `${at}.folder`, PART_FOLDER);
    check.that(!folders.has(folder), folder, `${at}.folder`, 'a folder of its own');
    folders.add(folder);
    const range = (field: 'epochs' | 'samples') => {
      const [begin, end] = check.range(part[field], `${at}.${field}`);
      check.that(end <= MAX_COUNT, end, `${at}.${field}`, `at most ${MAX_COUNT}`);
      return [begin, end] as const;
    };
    const epochs = range('epochs');
    if (isOrdered) check.that(epochs[0] === next, epochs, `${at}.epochs`, `from ${next} on`);
    next = epochs[1];
    return {
      folder,
      epochs,
      ...(part.samples === undefined ? {} : { samples: range('samples') }),
      bytes: check.count(part.bytes, `${at}.bytes`, 1, MAX_MANIFEST_BYTES),
      sha256: check.digest(part.sha256, `${at}.sha256`),
    };
  });
  if (!isOrdered) checkCover(check, { ...owner, parts });
  return parts;
}

/** Every label must be in one part. */
function checkCover(check: FieldChecker, owner: Owner): void {
  const extents = partExtents(owner);
  const overlap = ([a, b]: readonly [number, number], [c, d]: readonly [number, number]) =>
    a < d && c < b;
  let labels = 0n;
  for (const [i, { epochs, samples }] of extents.entries()) {
    labels += BigInt(epochs[1] - epochs[0]) * BigInt(samples[1] - samples[0]);
    const other = extents
      .slice(0, i)
      .findIndex((one) => overlap(one.epochs, epochs) && overlap(one.samples, samples));
    const words = other === 0 ? "the archive's own" : `those of parts[${other - 1}]`;
    const found = { epochs, samples };
    check.that(other < 0, JSON.stringify(found), `parts[${i - 1}].samples`, `other than ${words}`);
  }
  const all = BigInt(allEpochs(owner)) * BigInt(allSamples(owner));
  check.that(labels === all, String(labels), 'parts', `all of ${all} labels`);
}
