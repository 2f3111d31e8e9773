import { join } from 'node:path';
import { BLOCK_BYTES, sha256, type Xxh64 } from '../../container/checksum.js';
import { replaceFile } from '../../container/durable.js';
import { verifyShard } from '../../container/shard-file.js';
import { isSoftpackError } from '../../errors.js';
import { openLocalFile } from '../../store/local.js';
import type { EncodeOptions, StoredImage } from './encode.js';
import { encodeImages } from './encode.js';
import type { ImageShardRecord } from './manifest.js';
import { NO_TARGET, openImageShard, planImageShard } from './shard.js';

export interface FinishedShard {
  readonly record: ImageShardRecord;
  readonly faithful: boolean;
  /** Height and width that all its images share, or null. */
  readonly size: readonly [number, number] | null;
}

export interface ShardJob extends EncodeOptions {
  readonly out: string;
  readonly file: string;
  /** First sample of the shard. */
  readonly first: number;
  /** Bytes of images that a shard is cut at. */
  readonly limit: number;
  /** Identifies the run: images and options. */
  readonly origin: string;
  readonly targets: Uint32Array | undefined;
  /** Called with the samples that are encoded. */
  readonly onImage: (done: number) => void;
}

/** A shard that an earlier run of the same images and options completed; `undefined` if there is none. */
export async function finishedShard(
  { out, file, first, origin }: ShardJob,
  xxh64: Xxh64,
): Promise<FinishedShard | undefined> {
  let handle: Awaited<ReturnType<typeof openLocalFile>> | undefined;
  try {
    handle = await openLocalFile(join(out, file));
    const shard = await openImageShard(handle);
    if (shard.origin !== origin || shard.samples[0] !== first) return undefined;
    const whole = await verifyShard(shard, xxh64);
    const sizes = new Uint32Array(2 * (shard.samples[1] - first));
    await handle.read(shard.index.columns.get('sizes') ?? 0, new Uint8Array(sizes.buffer));
    const { samples, indexSha256 } = shard;
    const record = { file, bytes: handle.size, sha256: whole, indexSha256, samples };
    return { record, faithful: shard.faithful, size: sharedSize(sizes) };
  } catch (error) {
    const missing = ['NOT_FOUND', 'INVALID_FILE', 'CORRUPT_DATA'];
    if (isSoftpackError(error) && missing.includes(error.code)) return undefined;
    throw error;
  } finally {
    await handle?.close();
  }
}

/** The run that wrote a shard. */
export async function originOfShard(path: string): Promise<string> {
  const file = await openLocalFile(path);
  try {
    return (await openImageShard(file)).origin;
  } finally {
    await file.close();
  }
}

export async function writeShard(job: ShardJob, xxh64: Xxh64): Promise<FinishedShard> {
  const { out, file, first, encoding, origin, targets } = job;
  const stored = await storedImages(job);
  const samples = [first, first + stored.length] as const;
  const faithful = stored.every((image) => image.faithful);
  const bytes = stored.reduce((sum, image) => sum + image.bytes.length, 0);
  const { header, index } = planImageShard(samples, bytes, encoding, { origin, faithful });
  const content = new Uint8Array(index.fileBytes);
  content.set(header);
  const at = (column: string) => index.columns.get(column) ?? 0;
  const view = new DataView(content.buffer);
  const sizes = new Uint32Array(2 * stored.length);
  let position = 0;
  for (const [i, { bytes: image, height, width }] of stored.entries()) {
    content.set(image, at('data') + position);
    position += image.length;
    view.setBigUint64(at('offsets') + 8 * (i + 1), BigInt(position), true);
    view.setUint32(at('sizes') + 8 * i, height, true);
    view.setUint32(at('sizes') + 8 * i + 4, width, true);
    view.setUint32(at('targets') + 4 * i, targets?.[first + i] ?? NO_TARGET, true);
    sizes.set([height, width], 2 * i);
  }
  for (let i = 0; i < index.blocks; i++) {
    const begin = index.dataOffset + i * BLOCK_BYTES;
    const block = content.subarray(begin, Math.min(begin + BLOCK_BYTES, index.tableOffset));
    view.setBigUint64(index.tableOffset + 8 * i, xxh64.hash(block), true);
  }
  await replaceFile(join(out, file), content);
  const indexSha256 = sha256(header, content.subarray(index.tableOffset));
  const record = { file, bytes: content.length, sha256: sha256(content), indexSha256, samples };
  return { record, faithful, size: sharedSize(sizes) };
}

/** The images of one shard: at least one, however large. */
async function storedImages(job: ShardJob): Promise<readonly StoredImage[]> {
  const stored: StoredImage[] = [];
  let bytes = 0;
  for await (const image of encodeImages(job, job.first)) {
    if (stored.length > 0 && bytes + image.bytes.length > job.limit) break;
    stored.push(image);
    bytes += image.bytes.length;
    job.onImage(job.first + stored.length);
  }
  return stored;
}

function sharedSize(sizes: Uint32Array): readonly [number, number] | null {
  const [height, width] = sizes;
  const shared = sizes.every((side, i) => side === (i % 2 === 0 ? height : width));
  return shared ? [height, width] : null;
}
