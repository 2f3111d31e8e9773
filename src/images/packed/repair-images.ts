import { type CountingStore, FolderRepair, requireCopy } from '../../container/repair-file.js';
import { MANIFEST_FILE, MAX_MANIFEST_BYTES } from '../../container/shard-file.js';
import { verifyShardFile } from '../../container/verify-file.js';
import { inLanes } from '../../core/lanes.js';
import { SoftpackError } from '../../errors.js';
import { nameIn } from '../../store/address.js';
import type { ByteFile } from '../../store/byte-store.js';
import { readStored } from '../../store/read-stored.js';
import { parseImagesManifest } from './manifest.js';
import { openImageShard } from './shard.js';
import type { VerifyImagesOptions } from './verify-images.js';

/** Repair of packed images from a copy of them; what is trusted is their own manifest, which has the hashes of shards. */

/** @returns `id` of the images, and what came of their files. Throws `INVALID_ARGUMENT` if `source` holds others. */
export async function repairPackedImages(
  directory: string,
  manifestBytes: Uint8Array,
  source: CountingStore,
  { concurrency, onProgress, signal }: VerifyImagesOptions,
) {
  const { imagesId, shards } = parseImagesManifest(nameIn(directory, MANIFEST_FILE), manifestBytes);
  const name = nameIn(source.name, MANIFEST_FILE);
  const bytes = await readStored(source, MANIFEST_FILE, MAX_MANIFEST_BYTES);
  if (bytes === undefined) throw new SoftpackError('INCOMPLETE', 'no manifest', { field: name });
  requireCopy(source.name, imagesId, parseImagesManifest(name, bytes).imagesId);
  const repair = new FolderRepair(directory, source, signal);
  const total = shards.reduce((sum, shard) => sum + shard.bytes, 0);
  let done = 0;
  await inLanes(shards.length, concurrency, async (i) => {
    const record = shards[i];
    const open = (file: ByteFile) => openImageShard(file, record.samples);
    const verify = (own: Parameters<typeof verifyShardFile>[0]) =>
      verifyShardFile(own, record, open, { signal }).then(({ damage }) => damage);
    await repair.shard(record, verify, open);
    done += record.bytes;
    onProgress?.(done, total);
  });
  return { id: imagesId, ...repair.report };
}
