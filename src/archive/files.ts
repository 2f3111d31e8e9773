import { sha256 } from '../container/checksum.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../container/shard-file.js';
import { decodeTensorFile } from '../container/tensor-file.js';
import { FieldChecker } from '../core/check.js';
import { canonicalJson } from '../core/json.js';
import { inLanes } from '../core/lanes.js';
import { excerpt, SoftpackError, type SoftpackErrorCode } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore, ReadOptions } from '../store/byte-store.js';
import { openSound } from '../store/open-sound.js';
import { readStored } from '../store/read-stored.js';
import { subStore } from '../store/sub-store.js';
import type { FileRecord } from './file-record.js';
import type { ArchiveIdentity } from './identity.js';
import { type Manifest, parseManifest } from './manifest.js';
import { type PartRecord, partExtent } from './parts.js';
import { sampleShards } from './sample-blocks.js';
import { listedShards, type Shards, tabledShards } from './shards.js';

/** The files that say what an archive is: its manifest and its table of shards. */

/** sha256 over the archive's id and the hash of every shard, hex: two archives of one id hold the same labels. */
export function archiveDigest({
  archiveId,
  shardTable,
  shards = [],
  parts = [],
}: Manifest): string {
  const labels =
    shardTable === undefined ? shards.map(({ sha256: hash }) => hash) : [shardTable.sha256];
  const others = parts.map(({ sha256: hash }) => hash);
  return sha256(Buffer.from([archiveId, ...labels, ...others].join('\n')));
}

export async function shardsOf(
  source: ByteStore,
  manifest: Manifest,
  verify: boolean,
): Promise<Shards> {
  const { grid, shardTable, shards = [] } = manifest;
  if (grid === undefined || shardTable === undefined) return listedShards(shards);
  return openSound(source, shardTable.file, async (file) => {
    const { tensors } = await decodeTensorFile(file, shardTable, verify);
    return tabledShards(file.name, tensors, grid, manifest);
  });
}

/** Every file of an archive but its manifest, and without those of parts. */
export async function recordedFiles(
  source: ByteStore,
  manifest: Manifest,
): Promise<readonly FileRecord[]> {
  const { sampleBlocks } = manifest;
  const shards = await shardsOf(source, manifest, true);
  const side = sampleBlocks && (await sampleShards(source, sampleBlocks, true));
  return [...tableFiles(manifest), ...(side === undefined ? [] : listed(side)), ...listed(shards)];
}

/** Files that the manifest itself records. */
export function tableFiles({
  codecFile,
  samplesFile,
  sampleBlocks,
  shardTable,
}: Manifest): readonly FileRecord[] {
  const all = [codecFile, samplesFile, sampleBlocks?.table, shardTable];
  return all.filter((record) => record !== undefined);
}

function listed({ count, at }: Shards): readonly FileRecord[] {
  return Array.from({ length: count }, (_, i) => at(i));
}

/** An archive's own files, then those of each part, whose manifest comes last. */
export async function recordedFolders(
  source: ByteStore,
  manifest: Manifest,
): Promise<
  readonly {
    /** Absent for the archive's own. */
    readonly folder?: string;
    readonly store: ByteStore;
    readonly files: readonly FileRecord[];
  }[]
> {
  const own = { store: source, files: await recordedFiles(source, manifest) };
  const parts = (await listedParts(source, manifest)).map(
    async ({ store, listed, manifest: part }) => {
      const { folder, bytes, sha256: hash } = listed;
      const last = { file: MANIFEST_FILE, bytes, sha256: hash };
      return { folder, store, files: [...(await recordedFiles(store, part)), last] };
    },
  );
  return [own, ...(await Promise.all(parts))];
}

/** The parts that a manifest lists, with their manifests. */
export async function listedParts(
  source: ByteStore,
  manifest: ArchiveIdentity & Pick<Manifest, 'parts'>,
): Promise<
  readonly {
    readonly listed: PartRecord;
    readonly store: ByteStore;
    readonly manifest: Manifest;
  }[]
> {
  const { parts = [] } = manifest;
  const found: Awaited<ReturnType<typeof listedParts>>[number][] = [];
  await inLanes(parts.length, PARTS_AT_A_TIME, async (i) => {
    const store = subStore(source, parts[i].folder);
    const { manifest: part } = await readManifest(store, parts[i]);
    requirePart(nameIn(store.name, MANIFEST_FILE), manifest, part, parts[i]);
    found[i] = { listed: parts[i], store, manifest: part };
  });
  return found;
}

/** Manifests read at a time. */
const PARTS_AT_A_TIME = 8;

/**
 * The manifest, and its size in bytes; of a part it must be the one that is listed. One that is damaged is read again: a
 * cache or the way from a server may have done it.
 */
export async function readManifest(
  source: ByteStore,
  listed?: PartRecord,
): Promise<{ readonly manifest: Manifest; readonly manifestBytes: number }> {
  const name = nameIn(source.name, MANIFEST_FILE);
  const parse = (bytes: Uint8Array) => {
    if (listed !== undefined) requireListed(name, bytes, listed);
    return { manifest: parseManifest(name, bytes), manifestBytes: bytes.length };
  };
  const bytes = await readManifestBytes(source);
  try {
    return parse(bytes);
  } catch {
    return parse(await readManifestBytes(source, { fresh: true }));
  }
}

/** `CORRUPT_DATA` unless these are the bytes that the archive records of its part's manifest. */
function requireListed(name: string, bytes: Uint8Array, listed: PartRecord): void {
  const found = sha256(bytes);
  if (found === listed.sha256 && bytes.length === listed.bytes) return;
  throw new SoftpackError('CORRUPT_DATA', 'not the manifest of this part', {
    field: `${name}: sha256`,
    expected: listed.sha256,
    found,
  });
}

/** `INVALID_FILE`, or another code, unless a part holds what the archive says of it, and labels of its classes and teacher. */
export function requirePart(
  name: string,
  archive: ArchiveIdentity,
  part: Manifest,
  place: Pick<PartRecord, 'epochs' | 'samples'>,
  code: SoftpackErrorCode = 'INVALID_FILE',
): void {
  const check = new FieldChecker(name, code, 'not a part of this archive');
  const { epochs, samples } = partExtent(archive, place);
  check.that(part.parts === undefined, 'parts', 'parts', 'none: this is a part itself');
  check.that(part.pruning === undefined, 'pruning', 'pruning', 'none: rows of parts are epochs');
  const [rows, count] = [epochs[1] - epochs[0], samples[1] - samples[0]];
  check.that(part.epochs === rows, part.epochs, 'epochs', `${rows}`);
  check.that(part.samples === count, part.samples, 'samples', `${count}, as in the archive`);
  // Other samples have images of their own.
  const isOfSame = samples[0] === 0 && samples[1] === archive.samples;
  const images = isOfSame ? (['images'] as const) : [];
  for (const field of ['classes', 'classNames', 'teacher', ...images] as const) {
    const [own, found] = [archive[field], part[field]].map((value) =>
      JSON.stringify(canonicalJson(value ?? null, field)),
    );
    check.that(own === found, excerpt(found), field, `${excerpt(own)}, as in the archive`);
  }
  if (isOfSame) return;
  for (const { augmentation } of [archive, part]) {
    const found = augmentation?.generator ?? 'recorded';
    check.that(found === 'recorded', found, 'augmentation.generator', 'recorded views, or none');
  }
}

/** `INCOMPLETE` if there is none. */
export async function readManifestBytes(
  source: ByteStore,
  options: ReadOptions = {},
): Promise<Uint8Array> {
  const bytes = await readStored(source, MANIFEST_FILE, MAX_MANIFEST_BYTES, options);
  if (bytes !== undefined) return bytes;
  throw new SoftpackError(
    'INCOMPLETE',
    'no manifest: not an archive, or one that was never finished',
    { field: nameIn(source.name, MANIFEST_FILE) },
  );
}
