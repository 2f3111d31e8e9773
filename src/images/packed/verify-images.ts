import { MANIFEST_FILE } from '../../container/shard-file.js';
import { type DamagedBytes, damageOf, verifyShardFile } from '../../container/verify-file.js';
import { inLanes } from '../../core/lanes.js';
import { errorCode } from '../../errors.js';
import { nameIn } from '../../store/address.js';
import type { ByteStore } from '../../store/byte-store.js';
import { type ImagesManifest, parseImagesManifest } from './manifest.js';
import { openImageShard } from './shard.js';

/** Verification of packed images: every block, file and hash, with all of the damage in one report. */

export interface ImagesDamage extends DamagedBytes {
  readonly file: string;
  /** [first, after the last] of the images that cannot be read because of it. */
  readonly samples?: readonly [number, number];
}

export interface ImagesReport {
  readonly kind: 'packed images';
  /** Absent if the manifest is damaged. */
  readonly id?: string;
  readonly files: number;
  readonly bytes: number;
  readonly damage: readonly ImagesDamage[];
}

export interface VerifyImagesOptions {
  readonly concurrency: number;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

export async function verifyPackedImages(
  store: ByteStore,
  manifestBytes: Uint8Array,
  { concurrency, onProgress, signal }: VerifyImagesOptions,
): Promise<ImagesReport> {
  let manifest: ImagesManifest;
  try {
    manifest = parseImagesManifest(nameIn(store.name, MANIFEST_FILE), manifestBytes);
  } catch (error) {
    if (errorCode(error) === 'UNSUPPORTED') throw error;
    const damage = { file: MANIFEST_FILE, ...damageOf(error, [0, manifestBytes.length]) };
    return { kind: 'packed images', files: 1, bytes: manifestBytes.length, damage: [damage] };
  }
  const { shards, imagesId } = manifest;
  const total = shards.reduce((sum, { bytes }) => sum + bytes, 0);
  let verified = 0;
  const onBytes = (bytes: number) => {
    verified += bytes;
    onProgress?.(verified, total);
  };
  const found: (readonly ImagesDamage[])[] = [];
  await inLanes(shards.length, concurrency, async (i) => {
    const record = shards[i];
    const { file, samples } = record;
    const open = (opened: Parameters<typeof openImageShard>[0]) => openImageShard(opened, samples);
    const { damage } = await verifyShardFile(store, record, open, { onBytes, signal });
    // Positions of images are read when a shard is opened: damage of theirs hits all of its images.
    found[i] = damage.map((one) => ({ file, ...one, samples }));
  });
  const bytes = manifestBytes.length + verified;
  return {
    kind: 'packed images',
    id: imagesId,
    files: 1 + shards.length,
    bytes,
    damage: found.flat(),
  };
}
