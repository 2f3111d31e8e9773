import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BLOCK_BYTES, loadXxh64, sha256, type Xxh64 } from '../../container/checksum.js';
import { replaceFile, syncDirectory, writeFully } from '../../container/durable.js';
import { MANIFEST_FILE, verifyShard } from '../../container/shard-file.js';
import { SoftpackError, throwIfAborted } from '../../errors.js';
import { openLocalFile } from '../../store/local.js';
import { decodeImage, encodeJpeg, isJpeg, prepareDecoder } from '../decode.js';
import { SHARD_PREFIX } from '../open.js';
import type { ImageSource } from '../source.js';
import { textAt } from '../text-table.js';
import { type ImageEncoding, type ImageShardRecord, makeImagesManifest } from './manifest.js';
import { NO_TARGET, openImageShard, planImageShard } from './shard.js';

export interface PackImagesOptions {
  /** A folder or list of image files. */
  readonly images: ImageSource;
  /** Directory to write; an interrupted run of the same images is taken up at its first missing shard. */
  readonly out: string;
  /** `raw` (default): decoded pixels, the quickest to read. `jpeg`: 5 to 20 times smaller, decoded at each use. */
  readonly encoding?: ImageEncoding;
  /** Of JPEGs that are not copied as they are; as libjpeg counts it. Default 95. */
  readonly quality?: number;
  /** Size that shards are cut at; default 128 MiB, at most 1 GiB. One shard is held in memory. */
  readonly shardBytes?: number;
  /** Images decoded side by side; default 4, the threads of libuv's pool. */
  readonly concurrency?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface PackImagesResult {
  readonly count: number;
  /** Of all files. */
  readonly bytes: number;
  readonly shards: number;
  /** What `openImages` of the directory calls itself. */
  readonly id: string;
}

const DEFAULT_SHARD_BYTES = 128 * 2 ** 20;
const MAX_SHARD_BYTES = 2 ** 30;

/** One image as it is stored. */
interface StoredImage {
  readonly bytes: Uint8Array;
  /** Whether decoding gives the very pixels of the file. */
  readonly faithful: boolean;
  readonly height: number;
  readonly width: number;
}

/**
 * Packs image files into few large ones that are read by position: no directory look-ups, no decoding where `raw`,
 * every byte checksummed. JPEG files go into a `jpeg` pack as they are unless a `fit` changes their size.
 *
 * Equal images and options give equal bytes, however often the run was interrupted.
 *
 * @throws `ALREADY_EXISTS` if the directory holds something else, `INVALID_FILE` naming an image that cannot be
 *   decoded.
 */
export async function packImages(options: PackImagesOptions): Promise<PackImagesResult> {
  const { images, out, encoding = 'raw', onProgress, signal } = options;
  if (images.description.kind !== 'files') {
    throw new SoftpackError('INVALID_ARGUMENT', 'these images are packed already', {
      field: 'images',
      expected: 'a folder or a list of image files',
      found: images.description.kind,
    });
  }
  const limit = shardLimit(options.shardBytes ?? DEFAULT_SHARD_BYTES);
  prepareDecoder();
  const xxh64 = await loadXxh64();
  const origin = originOf(options);
  await mkdir(out, { recursive: true });
  await requireOurs(out);
  const shards: FinishedShard[] = [];
  let next = 0;
  while (next < images.count) {
    const file = `${SHARD_PREFIX}${String(shards.length).padStart(5, '0')}.safetensors`;
    const finished = await finishedShard(join(out, file), file, next, origin, xxh64);
    const shard =
      finished ?? (await writeShard(options, { file, first: next, limit, origin }, xxh64));
    shards.push(shard);
    next = shard.record.samples[1];
    onProgress?.(next, images.count);
    throwIfAborted(signal);
  }
  const records = shards.map(({ record }) => record);
  const manifest = makeImagesManifest({
    count: images.count,
    encoding,
    sourceId: shards.every(({ faithful }) => faithful) ? images.id : null,
    size: commonSize(shards.map(({ size }) => size)),
    ...(images.classNames && { classNames: images.classNames }),
    shards: records,
  });
  // What a run with other options may have left behind.
  const kept = new Set(records.map(({ file }) => file));
  for (const name of await readdir(out)) if (!kept.has(name)) await rm(join(out, name));
  const json = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
  await replaceFile(join(out, MANIFEST_FILE), json);
  const bytes = records.reduce((sum, record) => sum + record.bytes, json.length);
  const id = manifest.sourceId ?? manifest.imagesId;
  return { count: images.count, bytes, shards: records.length, id };
}

function shardLimit(bytes: number): number {
  if (bytes >= 1 && bytes <= MAX_SHARD_BYTES) return bytes;
  throw new SoftpackError('INVALID_ARGUMENT', 'not a size of shards', {
    field: 'shardBytes',
    expected: `1 to ${MAX_SHARD_BYTES}`,
    found: bytes,
  });
}

/** Tells shards of this run from those of another that was interrupted in the same place. */
function originOf({
  images,
  encoding = 'raw',
  quality = 95,
  shardBytes,
}: PackImagesOptions): string {
  const options = { encoding, quality, shardBytes: shardBytes ?? DEFAULT_SHARD_BYTES };
  return createHash('sha256')
    .update(JSON.stringify({ id: images.id, options }))
    .digest('hex');
}

async function requireOurs(out: string): Promise<void> {
  const names = await readdir(out);
  const foreign = names.find((name) => !name.startsWith(SHARD_PREFIX));
  if (foreign === undefined) return;
  throw new SoftpackError('ALREADY_EXISTS', 'directory is not empty', {
    field: out,
    expected: 'a new or empty directory, or one with an interrupted run',
    found: foreign,
  });
}

interface FinishedShard {
  readonly record: ImageShardRecord;
  readonly faithful: boolean;
  /** Height and width that all its images share, or null. */
  readonly size: readonly [number, number] | null;
}

/** A shard that an earlier run left whole; `undefined` where there is none, or one of other images. */
async function finishedShard(
  path: string,
  file: string,
  first: number,
  origin: string,
  xxh64: Xxh64,
): Promise<FinishedShard | undefined> {
  let handle: Awaited<ReturnType<typeof openLocalFile>> | undefined;
  try {
    handle = await openLocalFile(path);
    const shard = await openImageShard(handle);
    if (shard.origin !== origin || shard.samples[0] !== first) return undefined;
    const whole = await verifyShard(shard, xxh64);
    const sizes = new Uint32Array(2 * (shard.samples[1] - first));
    await handle.read(shard.index.columns.get('sizes') ?? 0, new Uint8Array(sizes.buffer));
    const { samples, indexSha256 } = shard;
    const record = { file, bytes: handle.size, sha256: whole, indexSha256, samples };
    return { record, faithful: shard.faithful, size: sharedSize(sizes) };
  } catch (error) {
    if (error instanceof SoftpackError) return undefined;
    throw error;
  } finally {
    await handle?.close();
  }
}

interface ShardJob {
  readonly file: string;
  readonly first: number;
  readonly limit: number;
  readonly origin: string;
}

async function writeShard(
  options: PackImagesOptions,
  { file, first, limit, origin }: ShardJob,
  xxh64: Xxh64,
): Promise<FinishedShard> {
  const { images, out, encoding = 'raw', onProgress } = options;
  const stored: StoredImage[] = [];
  let bytes = 0;
  for await (const image of encodeImages(options, first)) {
    // At least one image a shard, however large.
    if (stored.length > 0 && bytes + image.bytes.length > limit) break;
    stored.push(image);
    bytes += image.bytes.length;
    onProgress?.(first + stored.length, images.count);
  }
  const samples = [first, first + stored.length] as const;
  const faithful = stored.every((image) => image.faithful);
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
    view.setUint32(at('targets') + 4 * i, images.targets?.[first + i] ?? NO_TARGET, true);
    sizes.set([height, width], 2 * i);
  }
  for (let i = 0; i < index.blocks; i++) {
    const begin = index.dataOffset + i * BLOCK_BYTES;
    const block = content.subarray(begin, Math.min(begin + BLOCK_BYTES, index.tableOffset));
    view.setBigUint64(index.tableOffset + 8 * i, xxh64.hash(block), true);
  }
  await publish(out, file, content);
  const indexSha256 = sha256(header, content.subarray(index.tableOffset));
  const record = { file, bytes: content.length, sha256: sha256(content), indexSha256, samples };
  return { record, faithful, size: sharedSize(sizes) };
}

/** Under its name only when all of it is on disk. */
async function publish(directory: string, file: string, content: Uint8Array): Promise<void> {
  const path = join(directory, file);
  const partial = `${path}.partial`;
  const handle = await open(partial, 'w');
  try {
    await writeFully(handle, content, 0);
    await handle.sync();
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
  await rename(partial, path);
  await syncDirectory(directory);
}

/** Images from `first` on as they will be stored, in order, some encoded ahead. */
async function* encodeImages(
  options: PackImagesOptions,
  first: number,
): AsyncGenerator<StoredImage, void, undefined> {
  const { images, concurrency = 4, signal } = options;
  const ahead: Promise<StoredImage>[] = [];
  let next = first;
  try {
    for (;;) {
      while (next < images.count && ahead.length < concurrency) {
        const image = encodeOne(options, next++);
        image.catch(() => undefined); // Reported when its turn comes.
        ahead.push(image);
      }
      throwIfAborted(signal);
      const image = await ahead.shift();
      if (image === undefined) return;
      yield image;
    }
  } finally {
    await Promise.allSettled(ahead);
  }
}

async function encodeOne(
  { images, encoding = 'raw', quality = 95 }: PackImagesOptions,
  sample: number,
): Promise<StoredImage> {
  const { description } = images;
  if (description.kind !== 'files') throw new Error('checked before');
  const path = join(description.root, textAt(description.names, sample));
  const encoded = await readFile(path);
  if (encoding === 'raw') {
    const { pixels, height, width } = await decodeImage(encoded, path, description.fit);
    return { bytes: pixels, height, width, faithful: true };
  }
  if (description.fit === undefined && isJpeg(encoded)) {
    const { height, width } = await decodeImage(encoded, path); // Also proves that it is whole.
    return { bytes: encoded, height, width, faithful: true };
  }
  const jpeg = await encodeJpeg(encoded, path, quality, description.fit);
  return { ...jpeg, faithful: false };
}

function sharedSize(sizes: Uint32Array): readonly [number, number] | null {
  const [height, width] = sizes;
  const shared = sizes.every((side, i) => side === (i % 2 === 0 ? height : width));
  return shared ? [height, width] : null;
}

/** The size that all shards share, or null. */
function commonSize(
  sizes: readonly (readonly [number, number] | null)[],
): readonly [number, number] | null {
  const [first] = sizes;
  return sizes.every((size) => String(size) === String(first)) ? first : null;
}
