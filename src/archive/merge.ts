import { loadXxh64, type Xxh64 } from '../container/checksum.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { errorCode, SoftpackError, throwIfAborted } from '../errors.js';
import { nameIn } from '../store/address.js';
import type { ByteFile, ByteStore } from '../store/byte-store.js';
import { openStore } from '../store/open-store.js';
import { readCodecFile } from './codec-files.js';
import { createArchive } from './create.js';
import type { FileRecord } from './file-record.js';
import { listedParts, readManifestBytes, shardsOf } from './files.js';
import { type Rectangle, rectangleAt, shardCount, storedEpochs } from './grid.js';
import { type ArchiveIdentity, archiveIdOf } from './identity.js';
import { type LogPlan, logName, type Piece, readPieces } from './log-records.js';
import { type Manifest, parseManifest } from './manifest.js';
import { hasSampleParts } from './parts.js';
import type { ArchiveRow } from './pieces.js';
import { callRecord } from './provenance.js';
import { SampleBlockReader } from './sample-block-reader.js';
import { openShard } from './shard.js';
import { ShardReader } from './shard-reader.js';
import { listedShards } from './shards.js';
import { type ArchiveSpec, planHead, requireSame } from './spec.js';
import { readUnfinishedHead } from './verify-unfinished.js';

/** One archive of several: of parts of one plan, or of the same kind with epochs that follow each other. */

export interface MergeOptions {
  /** Labels copied so far, of all that the archive stores. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** Labels as a writer takes them. */
interface PieceWithColumns {
  readonly piece: Piece;
  readonly columns: ArchiveRow;
}

/** An archive to merge, finished or not. */
interface Part {
  readonly store: ByteStore;
  readonly identity: ArchiveIdentity;
  readonly request: Manifest['request'];
  readonly provenance: Manifest['provenance'];
  readonly manifest: Manifest | undefined;
}

/**
 * Writes an archive of the labels of others, which are folders, addresses or stores. They are either parts of one plan, finished or
 * not, that hold different labels of it; or finished archives of the same kind, whose epochs follow each other in the
 * order given. The bytes are those of an archive that was written at once. An interrupted merge is resumed.
 *
 * @throws `INVALID_ARGUMENT` with both values where parts differ in more than that, `INCOMPLETE` if labels are missing in
 *   all parts, `UNSUPPORTED` for epochs whose views are drawn by their number.
 */
export async function mergeArchives(
  out: string,
  from: readonly (string | ByteStore)[],
  { onProgress, signal }: MergeOptions = {},
): Promise<Manifest> {
  if (from.length === 0) {
    const details = { field: 'from', expected: 'one archive or more' };
    throw new SoftpackError('INVALID_ARGUMENT', 'nothing to merge', details);
  }
  const parts: Part[] = [];
  for (const one of from) parts.push(...(await openParts(one)));
  const [first] = parts;
  const isOnePlan = parts.every(
    (part) => idOf(part) === idOf(first) || part.manifest === undefined,
  );
  const epochs = isOnePlan ? first.identity.epochs : requireFollowing(parts);
  if (isOnePlan) requireSameParts(parts, ({ identity, request }) => planHead(identity, request));
  const notes = {
    request: isOnePlan ? first.request : common(parts, ({ request }) => request),
    provenance: provenanceOf(parts),
  };
  const spec = await specOf(first, epochs, notes);
  await using writer = await createArchive(out, spec, { resume: true });
  if (isOnePlan) requireId(writer.archiveId, first);
  const total = storedEpochs(spec) * spec.samples;
  const xxh64 = await loadXxh64();
  let [done, offset] = [0, 0];
  for (const part of parts) {
    for await (const { piece, columns } of labelsOf(part, xxh64)) {
      throwIfAborted(signal);
      await writer.write({ ...piece, epoch: piece.epoch + offset }, columns);
      done += piece.count;
      onProgress?.(Math.min(done, total), total);
    }
    if (!isOnePlan) offset += part.identity.epochs;
  }
  // Not the promise: a failure while the writer is closed would be nobody's.
  return await writer.finish();
}

function idOf({ manifest, identity }: Part): string {
  return manifest?.archiveId ?? archiveIdOf(identity);
}

/** An archive, with the parts that its manifest lists as archives of their own. */
async function openParts(from: string | ByteStore): Promise<readonly Part[]> {
  const store = typeof from === 'string' ? await openStore(from) : from;
  const own = await openPart(store);
  const all = [own];
  if (hasSampleParts(own.manifest?.parts)) {
    const details = {
      field: store.name,
      expected: 'parts that are epochs; packLogits makes one archive of all samples',
    };
    throw new SoftpackError('UNSUPPORTED', 'parts of further samples cannot be merged', details);
  }
  const parts = own.manifest === undefined ? [] : await listedParts(store, own.manifest);
  for (const { store: folder, manifest } of parts) {
    const { request, provenance } = manifest;
    all.push({ store: folder, identity: manifest, request, provenance, manifest });
  }
  return all;
}

async function openPart(store: ByteStore): Promise<Part> {
  try {
    const bytes = await readManifestBytes(store);
    const manifest = parseManifest(nameIn(store.name, MANIFEST_FILE), bytes);
    const { request, provenance } = manifest;
    return { store, identity: manifest, request, provenance, manifest };
  } catch (error) {
    if (errorCode(error) !== 'INCOMPLETE') throw error;
    const head = await readUnfinishedHead(store);
    if (head === undefined) throw error;
    return { store, ...head, manifest: undefined };
  }
}

/** Sum of all epochs; an error unless archives differ in nothing but them. */
function requireFollowing(parts: readonly Part[]): number {
  requireSameParts(parts, ({ identity }) => {
    const { epochs: _, grid: _grid, ...kind } = planHead(identity, undefined);
    return kind;
  });
  const [{ identity, store }] = parts;
  const generator = identity.augmentation?.generator ?? 'recorded';
  const { pruning, storedEpochs: stored, tauSchedule } = identity;
  const isPlain = [pruning, stored, tauSchedule].every((one) => one === undefined);
  if (generator !== 'recorded' || !isPlain) {
    const message = 'epochs that depend on their number cannot follow others';
    throw new SoftpackError('UNSUPPORTED', `${message}: write parts of one plan instead`, {
      field: `${store.name}: ${isPlain ? 'augmentation.generator' : 'epochs'}`,
      expected: 'recorded views, or none; all epochs stored, at one temperature',
      found: isPlain ? String(generator) : whatDepends(identity),
    });
  }
  return parts.reduce((sum, part) => sum + part.identity.epochs, 0);
}

/** What of an archive depends on the number of its epochs, besides its views. */
function whatDepends({ pruning, storedEpochs: stored }: ArchiveIdentity): string {
  if (pruning !== undefined) return 'pruned';
  return stored === undefined ? 'a schedule of temperatures' : 'fewer stored';
}

function requireSameParts(
  [first, ...others]: readonly Part[],
  of: (part: Part) => Parameters<typeof requireSame>[0],
): void {
  for (const other of others) {
    const message = `not archives to merge: ${first.store.name} and ${other.store.name} differ`;
    requireSame(of(first), of(other), 'INVALID_ARGUMENT', message);
  }
}

/** What all parts say of themselves, if it is the same. */
function common<T>([first, ...others]: readonly Part[], of: (part: Part) => T): T | undefined {
  const text = JSON.stringify(of(first));
  return others.every((part) => JSON.stringify(of(part)) === text) ? of(first) : undefined;
}

/** Parts that were made by one command are as if it had made the whole. */
function provenanceOf(parts: readonly Part[]): Manifest['provenance'] {
  const own = ({ provenance }: Part) => provenance;
  const from = parts.map(({ store }) => store.name);
  return common(parts, own) ?? callRecord('mergeArchives', { from }, parts.map(own));
}

async function specOf(
  { store, identity }: Part,
  epochs: number,
  { request, provenance }: Pick<Manifest, 'request' | 'provenance'>,
): Promise<ArchiveSpec> {
  const { codec, codecFile, samplesFile, columns, augmentation, ...rest } = identity;
  const { classes, samples, tau, layout, classNames, teacher, images, pruning } = rest;
  const read = async (record: FileRecord) =>
    readCodecFile(await store.open(record.file), record, true);
  const { tensors, metadata } = await read(codecFile);
  const side = await SampleBlockReader.open(store, identity, await loadXxh64());
  return {
    ...{ classes, samples, epochs, tau, layout, augmentation, request, provenance },
    ...{ classNames, teacher, images, pruning, columns: columns.slice(1) },
    codec: {
      ...codec,
      tensors,
      sampleTensors: samplesFile === undefined ? new Map() : (await read(samplesFile)).tensors,
      ...(side && { sampleBlocks: await side.whole() }),
    },
    decoding: metadata.get('decoding') ?? '',
    storedEpochs: rest.storedEpochs,
    tauSchedule: rest.tauSchedule,
    // Epochs that are put together are divided as a writer of all of them would.
    ...(epochs === identity.epochs ? { grid: rest.grid } : {}),
    ...(identity.sampleBlocks && { samplesPerFile: identity.sampleBlocks.samplesPerFile }),
  };
}

/** Files of a codec may have other words in another version. */
function requireId(archiveId: string, part: Part): void {
  if (archiveId === idOf(part)) return;
  throw new SoftpackError('UNSUPPORTED', 'written by another version: cannot be written again', {
    field: `${part.store.name}: archiveId`,
    expected: idOf(part),
    found: archiveId,
  });
}

/** All labels of a part: of its whole shards and of its logs. */
async function* labelsOf(part: Part, xxh64: Xxh64): AsyncGenerator<PieceWithColumns> {
  const { store, identity, manifest } = part;
  const archiveId = idOf(part);
  const { grid } = identity;
  const owner = { ...identity, archiveId };
  if (manifest !== undefined) {
    const shards = await shardsOf(store, manifest, true);
    const reader = new ShardReader({ source: store, manifest: owner, shards, xxh64 });
    for (let i = 0; i < shards.count; i++) yield* labelsOfShard(reader, owner, shards.at(i));
    return;
  }
  if (grid === undefined) return;
  for (let shard = 0; shard < shardCount(grid, identity); shard++) {
    const rectangle = rectangleAt(grid, identity, shard);
    const file = await openIfAny(store, rectangle);
    if (file === undefined) {
      yield* readLog(store, { identity, archiveId, shard, rectangle }, xxh64);
      continue;
    }
    // Nothing has recorded its hashes yet: it is held against its own checksums.
    const { indexSha256 } = await openShard(file, identity, archiveId, rectangle);
    const record = { ...rectangle, bytes: file.size, sha256: '', indexSha256 };
    const shards = listedShards([record]);
    const reader = new ShardReader({ source: store, manifest: owner, shards, xxh64 });
    yield* labelsOfShard(reader, owner, rectangle);
  }
}

/** The labels of a whole shard, one epoch after the other. */
async function* labelsOfShard(
  reader: ShardReader,
  { columns }: Pick<ArchiveIdentity, 'columns'>,
  { epochs: [first, last], samples: [start, end] }: Rectangle,
): AsyncGenerator<PieceWithColumns> {
  for (let epoch = first; epoch < last; epoch++) {
    const row: Record<string, Uint8Array> = {};
    for (const column of columns) {
      row[column.name] = await reader.read(epoch, column, start, end);
    }
    yield { piece: { epoch, start, count: end - start }, columns: row };
  }
}

async function openIfAny(
  store: ByteStore,
  { file }: Pick<Rectangle, 'file'>,
): Promise<ByteFile | undefined> {
  try {
    return await store.open(file);
  } catch (error) {
    if (errorCode(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}

async function* readLog(
  store: ByteStore,
  plan: LogPlan,
  xxh64: Xxh64,
): AsyncGenerator<PieceWithColumns> {
  const file = await openIfAny(store, { file: logName(plan.rectangle) });
  if (file === undefined) return;
  for await (const { piece } of readPieces(file, plan, xxh64)) {
    const columns: Record<string, Uint8Array> = {};
    for (const [i, { at, bytes }] of piece.columns.entries()) {
      const into = new Uint8Array(bytes);
      await file.read(at, into);
      columns[plan.identity.columns[i].name] = into;
    }
    const { epoch, start, count } = piece;
    yield { piece: { epoch, start, count }, columns };
  }
}
