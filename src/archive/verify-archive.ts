import { loadXxh64 } from '../container/checksum.js';
import { PAD_PREFIX, type SafetensorsLayout } from '../container/safetensors.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import {
  type DamagedBytes,
  damageOf,
  type KnownFile,
  type VerifyFileOptions,
  verifyShardFile,
  verifyTensorFile,
} from '../container/verify-file.js';
import { inLanes } from '../core/lanes.js';
import { errorCode, SoftpackError, type SoftpackErrorCode } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { subStore } from '../store/sub-store.js';
import { allLabels, type DamagedLabels, labelsIn } from './damaged-labels.js';
import { archiveDigest, readManifest, requirePart, shardsOf, tableFiles } from './files.js';
import { type Rectangle, rectangleAt, shardCount, storedEpochs } from './grid.js';
import { isManifestWhole, type Manifest, parseManifest } from './manifest.js';
import { type PartRecord, partExtent } from './parts.js';
import { sampleShape, sampleShards } from './sample-blocks.js';
import { type OpenShard, openShard, readOffsets } from './shard.js';

/** Verification of a whole archive: every block, file and hash, with all of the damage in one report. */

export interface ArchiveDamage extends DamagedBytes {
  readonly file: string;
  /** Labels that cannot be read because of it; none where only padding is hit. */
  readonly labels: readonly DamagedLabels[];
}

export interface VerifyOptions {
  /** Files read at a time; default 4. */
  readonly concurrency?: number;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface ArchiveReport {
  readonly kind: 'archive';
  /** See `LabelArchive.id`; absent if the manifest is damaged. */
  readonly id?: string;
  readonly files: number;
  /** Bytes that were read and held against their hashes. */
  readonly bytes: number;
  /** In order of files, then of bytes. */
  readonly damage: readonly ArchiveDamage[];
}

export const DEFAULT_CONCURRENCY = 4;

/** `UNSUPPORTED` if the archive needs a newer reader; damage is reported. */
export async function verifyArchiveFiles(
  store: ByteStore,
  manifestBytes: Uint8Array,
  options: VerifyOptions = {},
): Promise<ArchiveReport> {
  const size = manifestBytes.length;
  const whole = isManifestWhole(manifestBytes);
  let manifest: Manifest;
  try {
    manifest = parseManifest(nameIn(store.name, MANIFEST_FILE), manifestBytes);
  } catch (error) {
    if (errorCode(error) === 'UNSUPPORTED' && whole !== false) throw error;
    const damage = { file: MANIFEST_FILE, ...damageOf(error, [0, size]), labels: [] };
    return { kind: 'archive', files: 1, bytes: size, damage: [damage] };
  }
  const id = archiveDigest(manifest);
  const own = await verifyFilesOf(store, manifest, options);
  let [files, bytes] = [1 + own.files, size + own.verified];
  const changed = whole === false ? [changedManifest(size)] : [];
  const damage = [...changed, ...own.damage];
  for (const part of manifest.parts ?? []) {
    const found = await verifyPart(store, manifest, part, after(options, bytes));
    files += found.files;
    bytes += found.bytes;
    damage.push(...found.damage);
  }
  return { kind: 'archive', id, files, bytes, damage };
}

/** Sizes of later parts are told by their manifests. */
function after({ onProgress, ...options }: VerifyOptions, bytes: number): VerifyOptions {
  if (onProgress === undefined) return options;
  return { ...options, onProgress: (done, total) => onProgress(bytes + done, bytes + total) };
}

/** A part's manifest, then its files; damage is told by names in the archive's folder, epochs and samples of the archive. */
async function verifyPart(
  archive: ByteStore,
  owner: Manifest,
  part: PartRecord,
  options: VerifyOptions,
): Promise<Pick<ArchiveReport, 'files' | 'bytes' | 'damage'>> {
  const store = subStore(archive, part.folder);
  const place = partExtent(owner, part);
  const inArchive = (one: ArchiveDamage): ArchiveDamage => ({
    ...one,
    file: `${part.folder}/${one.file}`,
    labels: one.labels.map(({ column, epochs, samples }) => ({
      column,
      epochs: moved(epochs, place.epochs[0]),
      samples: moved(samples, place.samples[0]),
    })),
  });
  let manifest: Manifest;
  try {
    ({ manifest } = await readManifest(store, part));
    requirePart(nameIn(store.name, MANIFEST_FILE), owner, manifest, part);
  } catch (error) {
    const found = damageOf(error, [0, part.bytes]);
    const kind = errorCode(error) === 'INCOMPLETE' ? ({ kind: 'missing' } as const) : {};
    const [epochs, samples] = [place.epochs, place.samples].map(
      ([from, to]) => [0, to - from] as const,
    );
    const labels = allLabels(owner, { file: '', epochs, samples });
    const damage = inArchive({ file: MANIFEST_FILE, ...found, ...kind, labels });
    return { files: 1, bytes: part.bytes, damage: [damage] };
  }
  const { files, verified, damage } = await verifyFilesOf(store, manifest, options);
  return { files: 1 + files, bytes: part.bytes + verified, damage: damage.map(inArchive) };
}

function moved([from, to]: readonly [number, number], by: number): readonly [number, number] {
  return [from + by, to + by];
}

/** As readers have it. */
const CODES: Partial<Record<DamagedBytes['kind'], SoftpackErrorCode>> = {
  missing: 'NOT_FOUND',
  size: 'INVALID_FILE',
  structure: 'INVALID_FILE',
};

/** One damage of many, as an error. */
export function errorOf(archive: string, damage: ArchiveDamage): SoftpackError {
  const { file, kind, block, problem, expected, found } = damage;
  const place = block === undefined ? '' : `: block ${block}`;
  return new SoftpackError(CODES[kind] ?? 'CORRUPT_DATA', problem, {
    field: `${nameIn(archive, file)}${place}`,
    expected,
    found,
  });
}

/** What labels need is sound; what is told of them may not be. */
function changedManifest(size: number): ArchiveDamage {
  const problem = 'changed after it was written: its notes may be wrong, its labels are not';
  return { file: MANIFEST_FILE, kind: 'content', problem, bytes: [0, size], labels: [] };
}

async function verifyFilesOf(store: ByteStore, manifest: Manifest, options: VerifyOptions) {
  const { concurrency = DEFAULT_CONCURRENCY, onProgress, signal } = options;
  const { samplesFile, sampleBlocks, shardTable } = manifest;
  const small = tableFiles(manifest);
  const all = smallLabels(manifest);
  const damage = new Map<string, readonly ArchiveDamage[]>();
  let verified = 0;
  // Reported with the first shard: the table among these files tells the total.
  const count = (bytes: number) => {
    verified += bytes;
  };
  for (const record of small) {
    const found = await verifyTensorFile(store, record, { onBytes: count, signal });
    const rows = record === samplesFile ? found.layout : undefined;
    const labelsOf = ({ bytes }: DamagedBytes) =>
      rows === undefined ? all : sampleLabels(manifest, rows, bytes);
    damage.set(
      record.file,
      found.damage.map((one) => ({ file: record.file, ...one, labels: labelsOf(one) })),
    );
  }
  const isWhole = ({ file }: { readonly file: string }) => damage.get(file)?.length === 0;
  const isTableGood = shardTable === undefined || isWhole(shardTable);
  const shards = isTableGood ? await shardsOf(store, manifest, false) : unknownShards(manifest);
  const side =
    sampleBlocks && isWhole(sampleBlocks.table)
      ? await sampleShards(store, sampleBlocks, false)
      : undefined;
  const known = shards.bytes + (side?.bytes ?? 0);
  const total = small.reduce((sum, { bytes }) => sum + bytes, known);
  const onBytes = (bytes: number) => {
    count(bytes);
    onProgress?.(verified, total);
  };
  await inLanes(side?.count ?? 0, concurrency, async (i) => {
    if (side === undefined) return;
    const record = side.at(i);
    damage.set(record.file, await verifySampleFile(store, manifest, record, { onBytes, signal }));
  });
  await inLanes(shards.count, concurrency, async (i) => {
    const record = shards.at(i);
    damage.set(record.file, await verifyShardOf(store, manifest, record, { onBytes, signal }));
  });
  const filesOf = ({ count, at }: KnownShards) => Array.from({ length: count }, (_, i) => at(i));
  const names = [...small, ...(side === undefined ? [] : filesOf(side)), ...filesOf(shards)];
  const inOrder = names.flatMap(({ file }) => damage.get(file) ?? []);
  return { files: names.length, verified, damage: inOrder };
}

/** Without codec, side data or table no label can be read. */
function smallLabels(manifest: Manifest): readonly DamagedLabels[] {
  const { samples } = manifest;
  const whole = { file: '', epochs: [0, storedEpochs(manifest)], samples: [0, samples] } as const;
  return allLabels(manifest, whole);
}

/** Labels of the samples whose side data lie in some bytes of their file. */
function sampleLabels(
  manifest: Manifest,
  { tensors, dataOffset }: SafetensorsLayout,
  [begin, end]: DamagedBytes['bytes'],
): readonly DamagedLabels[] {
  const { samples: count } = manifest;
  const hit = [...tensors.values()].flatMap(({ name, shape, begin: at, end: until }) => {
    const [from, to] = [Math.max(begin - dataOffset, at), Math.min(end - dataOffset, until)];
    const each = (until - at) / shape[0];
    if (name.startsWith(PAD_PREFIX) || from >= to) return [];
    return [[Math.floor((from - at) / each), Math.ceil((to - at) / each)] as const];
  });
  if (hit.length === 0) return [];
  const samples = [
    Math.min(...hit.map(([first]) => first)),
    Math.min(count, Math.max(...hit.map(([, last]) => last))),
  ] as const;
  return allLabels(manifest, { file: '', epochs: [0, storedEpochs(manifest)], samples });
}

/** Damage of one file of side data, with the labels of its samples. */
export async function verifySampleFile(
  store: ByteStore,
  manifest: Manifest,
  record: Rectangle & KnownFile,
  options: VerifyFileOptions,
): Promise<readonly ArchiveDamage[]> {
  const { codecFile, sampleBlocks, pruning } = manifest;
  if (sampleBlocks === undefined) throw new TypeError('an archive without side data in blocks');
  const shape = sampleShape(sampleBlocks, codecFile);
  const damage = await verifyShardOf(store, shape, record, options);
  const epochs = [0, storedEpochs(manifest)] as const;
  return damage.map((one) => ({
    ...one,
    // Rows of a pruned archive have labels of any sample.
    labels: one.labels.flatMap(({ samples }) =>
      pruning === undefined
        ? allLabels(manifest, { file: '', epochs, samples })
        : smallLabels(manifest),
    ),
  }));
}

interface KnownShards {
  readonly count: number;
  readonly bytes: number;
  at(i: number): Rectangle & KnownFile;
}

/** Shards whose table is damaged: they are held against their own checksums. */
function unknownShards(manifest: Manifest): KnownShards {
  const { grid } = manifest;
  if (grid === undefined) throw new TypeError('an archive of version 1 has no table');
  return { count: shardCount(grid, manifest), bytes: 0, at: (i) => rectangleAt(grid, manifest, i) };
}

/** What says how a shard looks. */
type ShardOwner = Pick<Manifest, 'archiveId' | 'columns' | 'layout' | 'samples'>;

/** Damage of one shard, with the labels that it hits. */
export async function verifyShardOf(
  store: ByteStore,
  manifest: ShardOwner,
  record: Rectangle & KnownFile,
  options: VerifyFileOptions,
): Promise<readonly ArchiveDamage[]> {
  const { archiveId } = manifest;
  const { damage, shard } = await verifyShardFile(
    store,
    record,
    (file) => openShard(file, manifest, archiveId, record),
    options,
  );
  if (damage.length === 0 || shard === undefined) {
    const labels = allLabels(manifest, record);
    return damage.map((one) => ({ file: record.file, ...one, labels }));
  }
  const located = await locatedIn(store, manifest, record, shard);
  return damage.map((one) => {
    const labels =
      located === undefined || one.kind === 'content'
        ? allLabels(manifest, record)
        : labelsIn(manifest, record, located, one.bytes);
    return { file: record.file, ...one, labels };
  });
}

/** The shard with where its blocks lie; undefined if that is damaged itself. */
async function locatedIn(
  store: ByteStore,
  manifest: ShardOwner,
  record: Rectangle,
  shard: OpenShard,
): Promise<OpenShard | undefined> {
  if (manifest.layout.kind === 'fixed') return shard;
  try {
    const file = await store.open(record.file);
    return await readOffsets({ ...shard, file }, manifest, record, await loadXxh64());
  } catch (error) {
    damageOf(error, [0, 0]);
    return undefined;
  }
}
