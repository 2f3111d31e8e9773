import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '../container/checksum.js';
import { makeDirectory, removeTemporaries, replaceFile } from '../container/durable.js';
import { LOCK_FILE, WriterLock } from '../container/lock.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { FieldChecker } from '../core/check.js';
import { excerpt, SoftpackError } from '../errors.js';
import { onFile } from '../store/file-error.js';
import { localStore } from '../store/local.js';
import { openArchive } from './archive.js';
import { listedParts, readManifest, readManifestBytes, requirePart } from './files.js';
import { type Manifest, manifestBytes, parseManifest, withParts } from './manifest.js';
import {
  allEpochs,
  allSamples,
  isPartFolder,
  type PartExtent,
  type PartRecord,
  partExtent,
  partFolder,
} from './parts.js';
import { placedParts, requireSameTemperatures } from './placed-parts.js';

/** What follows: `epochs` of the same samples, or `samples` in the same epochs. */
export type AppendAxis = 'epochs' | 'samples';

/** What is appended, by the place that it has in its source. */
export interface Placed {
  readonly name: string;
  readonly manifest: Manifest;
  readonly extent: PartExtent;
}

/** The right to append to an archive. */
export class Appending implements AsyncDisposable {
  readonly manifest: Manifest;
  readonly #directory: string;
  readonly #lock: WriterLock;
  readonly #add: AppendAxis;
  /** Manifests of the archive and its parts. */
  readonly #manifests: readonly Manifest[];
  readonly #parts: PartRecord[];

  private constructor(
    directory: string,
    lock: WriterLock,
    add: AppendAxis,
    manifests: readonly [Manifest, ...Manifest[]],
  ) {
    this.#directory = directory;
    this.#lock = lock;
    this.#add = add;
    this.#manifests = manifests;
    this.manifest = manifests[0];
    this.#parts = [...(manifests[0].parts ?? [])];
  }

  /** `LOCKED` while something else writes in the folder; `INCOMPLETE` if there is no finished archive. */
  static async open(directory: string, add: AppendAxis = 'epochs'): Promise<Appending> {
    const lock = await WriterLock.acquire(directory);
    try {
      const store = localStore(directory);
      const { manifest } = await readManifest(store);
      requireEpochs(directory, manifest);
      const parts = (await listedParts(store, manifest)).map((part) => part.manifest);
      if (add === 'samples') for (const part of [manifest, ...parts]) requireFreeViews(part);
      return new Appending(directory, lock, add, [manifest, ...parts]);
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Where the archive will have what its source has there. */
  #place({ epochs, samples }: PartExtent): Pick<PartRecord, 'epochs' | 'samples'> {
    const { manifest } = this;
    const by = this.#add === 'epochs' ? [allEpochs(manifest), 0] : [0, allSamples(manifest)];
    const moved = ([from, to]: readonly [number, number], offset: number) =>
      [from + offset, to + offset] as const;
    const columns = moved(samples, by[1]);
    const isOfSame = columns[0] === 0 && columns[1] === manifest.samples;
    return { epochs: moved(epochs, by[0]), ...(isOfSame ? {} : { samples: columns }) };
  }

  /** `INVALID_ARGUMENT` if these labels do not belong to the archive's samples or epochs, and its classes. */
  requireAll(more: readonly Placed[]): void {
    const own = this.manifest;
    for (const { name, manifest, extent } of more) {
      if (this.#add === 'samples') requireFreeViews(manifest);
      requirePart(name, own, manifest, this.#place(extent), 'INVALID_ARGUMENT');
    }
    const [{ name }] = more;
    const check = new FieldChecker(name, 'INVALID_ARGUMENT', 'not a part of this archive');
    const [field, expected] =
      this.#add === 'epochs'
        ? (['samples', allSamples(own)] as const)
        : (['epochs', allEpochs(own)] as const);
    const found = Math.max(...more.map(({ extent }) => extent[field][1]));
    const hint = this.#add === 'epochs' ? ' (samples are appended as such)' : '';
    check.that(found === expected, found, field, `${expected}, as in the archive${hint}`);
    const extents = more.map(({ extent }) => partExtent(own, this.#place(extent)));
    requireSameTemperatures(
      name,
      [
        ...placedParts(this.#manifests),
        ...more.map(({ manifest }, i) => ({ manifest, extent: extents[i] })),
      ],
      'INVALID_ARGUMENT',
    );
  }

  /** The folder of the next part, which is not listed yet. */
  get folder(): string {
    return join(this.#directory, this.#name);
  }

  get #name(): string {
    return partFolder(this.#parts.length + 1);
  }

  /** An empty folder for the next part: without what a killed run left. */
  async newFolder(): Promise<string> {
    await this.discard();
    await makeDirectory(this.folder);
    return this.folder;
  }

  /** Removes what is in the next part's folder. */
  async discard(): Promise<void> {
    const { folder } = this;
    await onFile(folder, () => rm(folder, { recursive: true, force: true }));
  }

  /** Lists the finished archive in {@link folder} as the archive's next part; default: the only one that is appended. */
  async add(extent?: PartExtent): Promise<void> {
    await using part = await openArchive(this.folder);
    const bytes = await readManifestBytes(localStore(this.folder));
    const { manifest } = part;
    const own = extent ?? { epochs: [0, part.epochs], samples: [0, part.samples] };
    const name = join(this.folder, MANIFEST_FILE);
    if (extent === undefined) this.requireAll([{ name, manifest, extent: own }]);
    const record = { bytes: bytes.length, sha256: sha256(bytes) };
    this.#parts.push({ folder: this.#name, ...this.#place(own), ...record });
  }

  /** Makes the parts that were added the archive's, and removes folders that killed runs left. */
  async publish(): Promise<Manifest> {
    const bytes = manifestBytes(withParts(this.manifest, this.#parts));
    const path = join(this.#directory, MANIFEST_FILE);
    // What no reader would take is not written.
    const manifest = parseManifest(path, bytes);
    await replaceFile(path, bytes);
    await removeTemporaries(this.#directory, [MANIFEST_FILE, LOCK_FILE]);
    const listed = new Set(this.#parts.map(({ folder }) => folder));
    for (const name of await onFile(this.#directory, () => readdir(this.#directory))) {
      if (!isPartFolder(name) || listed.has(name)) continue;
      const left = join(this.#directory, name);
      await onFile(left, () => rm(left, { recursive: true, force: true }));
    }
    return manifest;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#lock.release();
  }
}

/** `UNSUPPORTED` for batches. */
export function requireEpochs(directory: string, manifest: Manifest): void {
  if (manifest.pruning === undefined) return;
  throw new SoftpackError('UNSUPPORTED', 'rows of a pruned archive are batches', {
    field: directory,
    expected: 'an archive of epochs',
  });
}

/** Views that are drawn have partners among all samples. */
function requireFreeViews({ augmentation }: Manifest): void {
  const found = augmentation?.generator ?? 'recorded';
  if (found === 'recorded') return;
  throw new SoftpackError(
    'UNSUPPORTED',
    'views are drawn among all samples: with more of them those of every label would change',
    {
      field: 'augmentation.generator',
      expected: 'recorded views, or none; samples of drawn views are labelled as another archive',
      found: excerpt(found),
    },
  );
}
