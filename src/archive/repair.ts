import { join } from 'node:path';
import { makeDirectory } from '../container/durable.js';
import { type CountingStore, FolderRepair, requireCopy } from '../container/repair-file.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { inLanes } from '../core/lanes.js';
import { nameIn } from '../store/address.js';
import type { ByteStore } from '../store/byte-store.js';
import { localStore } from '../store/local.js';
import { subStore } from '../store/sub-store.js';
import { archiveDigest, readManifest, readManifestBytes, shardsOf, tableFiles } from './files.js';
import { type Manifest, parseManifest } from './manifest.js';
import type { PartRecord } from './parts.js';
import { sampleShape, sampleShards } from './sample-blocks.js';
import type { SampleBlocksRecord } from './sample-record.js';
import { openShard } from './shard.js';
import {
  DEFAULT_CONCURRENCY,
  type VerifyOptions,
  verifySampleFile,
  verifyShardOf,
} from './verify-archive.js';

/**
 * Repair of an archive's files from a copy of it. What is trusted is the archive's own manifest, and through its hashes
 * the table of shards, through that the checksums of each shard, and through those the blocks.
 */

/** @returns `id` of the archive, and what came of its files. Throws `INVALID_ARGUMENT` if `source` is of another one. */
export async function repairArchiveFiles(
  directory: string,
  manifestBytes: Uint8Array,
  source: CountingStore,
  { concurrency, onProgress, signal }: VerifyOptions,
) {
  const manifest = parseManifest(nameIn(directory, MANIFEST_FILE), manifestBytes);
  const id = archiveDigest(manifest);
  const other = parseManifest(nameIn(source.name, MANIFEST_FILE), await readManifestBytes(source));
  requireCopy(source.name, id, archiveDigest(other));
  const options = { concurrency, onProgress, signal };
  const repair = new FolderRepair(directory, source, signal);
  await repairFolder(directory, manifest, repair, options);
  const { repaired, unrepaired } = repair.report;
  const report = { repaired: [...repaired], unrepaired: [...unrepaired] };
  for (const part of manifest.parts ?? []) {
    const found = await repairPart(directory, part, source, options);
    report.repaired.push(...found.repaired);
    report.unrepaired.push(...found.unrepaired);
  }
  return { id, ...report };
}

/** A part's manifest is compared with what the archive's records of it, and all else with the part's. */
async function repairPart(
  archive: string,
  { folder, bytes, sha256 }: PartRecord,
  source: ByteStore,
  options: VerifyOptions,
): Promise<FolderRepair['report']> {
  const directory = join(archive, folder);
  await makeDirectory(directory);
  const inPart = <T extends { readonly file: string }>(files: readonly T[]) =>
    files.map((one) => ({ ...one, file: `${folder}/${one.file}` }));
  const repair = new FolderRepair(directory, subStore(source, folder), options.signal);
  if (await repair.whole({ file: MANIFEST_FILE, bytes, sha256 })) {
    const { manifest } = await readManifest(localStore(directory));
    await repairFolder(directory, manifest, repair, options);
  }
  const { repaired, unrepaired } = repair.report;
  return { repaired: inPart(repaired), unrepaired: inPart(unrepaired) };
}

/** The files of one folder, by its manifest. */
async function repairFolder(
  directory: string,
  manifest: Manifest,
  repair: FolderRepair,
  { concurrency = DEFAULT_CONCURRENCY, onProgress, signal }: VerifyOptions,
): Promise<void> {
  const { shardTable, sampleBlocks } = manifest;
  const sound = new Set<string>();
  for (const record of tableFiles(manifest)) if (await repair.whole(record)) sound.add(record.file);
  if (sampleBlocks !== undefined && sound.has(sampleBlocks.table.file)) {
    await repairSampleBlocks(directory, manifest, sampleBlocks, repair, signal);
  }
  if (shardTable !== undefined && !sound.has(shardTable.file)) return;
  const shards = await shardsOf(localStore(directory), manifest, true);
  let done = 0;
  await inLanes(shards.count, concurrency, async (i) => {
    const record = shards.at(i);
    await repair.shard(
      record,
      (own) => verifyShardOf(own, manifest, record, { signal }),
      (file) => openShard(file, manifest, manifest.archiveId, record),
    );
    done += record.bytes;
    onProgress?.(done, shards.bytes);
  });
}

async function repairSampleBlocks(
  directory: string,
  manifest: Manifest,
  sampleBlocks: SampleBlocksRecord,
  repair: FolderRepair,
  signal: AbortSignal | undefined,
): Promise<void> {
  const shards = await sampleShards(localStore(directory), sampleBlocks, true);
  const shape = sampleShape(sampleBlocks, manifest.codecFile);
  for (let i = 0; i < shards.count; i++) {
    const record = shards.at(i);
    await repair.shard(
      record,
      (own) => verifySampleFile(own, manifest, record, { signal }),
      (file) => openShard(file, shape, shape.archiveId, record),
    );
  }
}
