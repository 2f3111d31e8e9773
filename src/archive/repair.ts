import { type CountingStore, FolderRepair, requireCopy } from '../container/repair-file.js';
import { MANIFEST_FILE } from '../container/shard-file.js';
import { inLanes } from '../core/lanes.js';
import { nameIn } from '../store/address.js';
import { localStore } from '../store/local.js';
import { archiveDigest, readManifestBytes, shardsOf } from './files.js';
import { parseManifest } from './manifest.js';
import { openShard } from './shard.js';
import { DEFAULT_CONCURRENCY, type VerifyOptions, verifyShardOf } from './verify-archive.js';

/**
 * Repair of an archive's files from a copy of it. What is trusted is the archive's own manifest, and through its hashes
 * the table of shards, through that the checksums of each shard, and through those the blocks.
 */

/** @returns `id` of the archive, and what came of its files. Throws `INVALID_ARGUMENT` if `source` is of another one. */
export async function repairArchiveFiles(
  directory: string,
  manifestBytes: Uint8Array,
  source: CountingStore,
  { concurrency = DEFAULT_CONCURRENCY, onProgress, signal }: VerifyOptions,
) {
  const manifest = parseManifest(nameIn(directory, MANIFEST_FILE), manifestBytes);
  const id = archiveDigest(manifest);
  const other = parseManifest(nameIn(source.name, MANIFEST_FILE), await readManifestBytes(source));
  requireCopy(source.name, id, archiveDigest(other));
  const repair = new FolderRepair(directory, source, signal);
  const { codecFile, samplesFile, shardTable } = manifest;
  const isTableGood = shardTable === undefined || (await repair.whole(shardTable));
  for (const record of [codecFile, samplesFile])
    if (record !== undefined) await repair.whole(record);
  if (!isTableGood) return { id, ...repair.report };
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
  return { id, ...repair.report };
}
