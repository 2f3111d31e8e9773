import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { loadXxh64, sha256, type Xxh64 } from '../../container/checksum.js';
import { makeDirectory, removeTemporaries, replaceFile } from '../../container/durable.js';
import { LOCK_FILE, requireUnlocked, WriterLock } from '../../container/lock.js';
import { MANIFEST_FILE } from '../../container/shard-file.js';
import { argument } from '../../core/check.js';
import { canonicalJson, type JsonObject } from '../../core/json.js';
import { SoftpackError, throwIfAborted } from '../../errors.js';
import { onFile } from '../../store/file-error.js';
import { type DamagedImage, findDamaged, namingAllDamaged, withoutImages } from '../damaged.js';
import { imagesFingerprint } from '../fingerprint.js';
import { loadLibvips } from '../libvips.js';
import { requireOutside } from '../outside.js';
import type { FilesDescription, ImageSource } from '../source.js';
import { ownFiles, packedState, removeOwnFiles, shardFile } from './directory.js';
import {
  type ImageEncoding,
  type ImageShardRecord,
  type ImagesManifest,
  makeImagesManifest,
} from './manifest.js';
import { readPackedIndex } from './packed-index.js';
import {
  type FinishedShard,
  finishedShard,
  originOfShard,
  type ShardJob,
  writeShard,
} from './write-shard.js';

export interface PackImagesOptions {
  /** A folder or list of image files. */
  readonly images: ImageSource;
  /** Directory to write; an interrupted run of the same images resumes at its first missing shard. */
  readonly out: string;
  /** `raw` (default): decoded pixels, the fastest to read. `jpeg`: 5 to 20 times smaller, decoded at each use. */
  readonly encoding?: ImageEncoding;
  /** Quality of JPEGs that are not copied unchanged, on libjpeg's scale. Default 95. */
  readonly quality?: number;
  /** Size that shards are cut at; default 128 MiB, at most 1 GiB. One shard is held in memory. */
  readonly shardBytes?: number;
  /**
   * `refuse` (default): images that cannot be decoded are one error, which names all of them. `skip`: all images are decoded
   * once to find them, the others are packed, and the result names them.
   */
  readonly damaged?: 'refuse' | 'skip';
  /** Return the result of a finished folder of the same images and options instead of refusing it; default false. */
  readonly acceptFinished?: boolean;
  /** Images decoded at a time; default 4, the threads of libuv's pool. */
  readonly concurrency?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface PackImagesResult {
  readonly count: number;
  /** Size of all files. */
  readonly bytes: number;
  readonly shards: number;
  /** The `id` that `openImages` of the directory gives. */
  readonly id: string;
  /** With `damaged: 'skip'`: what was left out. */
  readonly damaged?: readonly DamagedImage[];
}

const DEFAULT_SHARD_BYTES = 128 * 2 ** 20;
const MAX_SHARD_BYTES = 2 ** 30;
const DEFAULT_CONCURRENCY = 4;
const DEFAULT_QUALITY = 95;

/**
 * Packs image files into few large ones that are read by position: no directory look-ups, no decoding if `raw`,
 * every byte checksummed. JPEG files go into a `jpeg` pack as they are unless a `fit` changes their size.
 *
 * Equal images and options give equal bytes, however often the run was interrupted.
 *
 * @throws `ALREADY_EXISTS` if the directory holds something else, `INVALID_FILE` naming an image that cannot be
 *   decoded.
 */
export async function packImages(options: PackImagesOptions): Promise<PackImagesResult> {
  const { images, out, concurrency = DEFAULT_CONCURRENCY, onProgress, signal } = options;
  const files = requireFiles(images);
  argument.oneOf(options.encoding ?? 'raw', 'encoding', ['raw', 'jpeg']);
  argument.count(options.quality ?? DEFAULT_QUALITY, 'quality', 1, 100);
  argument.count(concurrency, 'concurrency', 1, 1024);
  argument.count(options.shardBytes ?? DEFAULT_SHARD_BYTES, 'shardBytes', 1, MAX_SHARD_BYTES);
  await requireOutside(out, files.root);
  await loadLibvips();
  if (options.damaged !== 'skip') return packAll(options, files);
  const damaged = await findDamaged(files, {
    ...{ concurrency, signal },
    onProgress: (done) => onProgress?.(done, images.count),
  });
  const sound = withoutImages(images, files, damaged);
  const result = await packAll({ ...options, images: sound }, requireFiles(sound));
  return { ...result, damaged: [...damaged.values()] };
}

async function packAll(
  options: PackImagesOptions,
  files: FilesDescription,
): Promise<PackImagesResult> {
  const { images, out, encoding = 'raw', signal } = options;
  const fingerprint = await imagesFingerprint(images, signal);
  await makeDirectory(out);
  const finished = await finishedRun(options, originOf(options, fingerprint));
  if (finished !== undefined) return finished;
  await requireUnlocked(out);
  await ownFiles(out); // Before a lock is put into a folder that is somebody else's.
  await using _lock = await WriterLock.acquire(out);
  const own = await ownFiles(out);
  const shards = await packShards(options, files, fingerprint);
  const records = shards.map(({ record }) => record);
  const manifest = makeImagesManifest({
    count: images.count,
    encoding,
    sourceId: shards.every(({ faithful }) => faithful) ? images.id : null,
    fingerprint,
    size: commonSize(shards.map(({ size }) => size)),
    ...(images.classNames && { classNames: images.classNames }),
    shards: records,
  });
  await removeOwnFiles(out, own, new Set(records.map(({ file }) => file)));
  await replaceFile(join(out, MANIFEST_FILE), manifestBytes(manifest));
  return resultOf(manifest);
}

/** The result of an earlier run of the same images and options; `undefined` if the folder holds something else. */
async function finishedRun(
  { out, acceptFinished }: PackImagesOptions,
  origin: string,
): Promise<PackImagesResult | undefined> {
  const names = await onFile(out, () => readdir(out));
  // A run that was killed after its manifest was written leaves its lock.
  const killed = names.includes(LOCK_FILE);
  if (!names.includes(MANIFEST_FILE) || !(killed || acceptFinished)) return undefined;
  if ((await packedState(out)) !== 'finished') return undefined;
  const { manifest } = await readPackedIndex(out);
  for (const { file } of manifest.shards) {
    if ((await originOfShard(join(out, file))) !== origin) return undefined;
  }
  await using _lock = await WriterLock.acquire(out);
  await removeTemporaries(out, [MANIFEST_FILE, LOCK_FILE, ...manifest.shards.map(fileOf)]);
  return resultOf(manifest);
}

const fileOf = ({ file }: ImageShardRecord) => file;

function resultOf(manifest: ImagesManifest): PackImagesResult {
  const { count, shards, sourceId, imagesId } = manifest;
  const bytes = shards.reduce((sum, shard) => sum + shard.bytes, manifestBytes(manifest).length);
  return { count, bytes, shards: shards.length, id: sourceId ?? imagesId };
}

function manifestBytes(manifest: ImagesManifest): Uint8Array {
  return Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
}

function requireFiles({ description }: ImageSource): FilesDescription {
  if (description.kind === 'files') return description;
  throw new SoftpackError('INVALID_ARGUMENT', 'these images are packed already', {
    field: 'images',
    expected: 'a folder or a list of image files',
    found: description.kind,
  });
}

/** Resumes after the shards that an interrupted run of the same images and options completed. */
async function packShards(
  options: PackImagesOptions,
  files: FilesDescription,
  fingerprint: JsonObject,
): Promise<readonly FinishedShard[]> {
  const { images, out, onProgress, signal, concurrency = DEFAULT_CONCURRENCY } = options;
  const {
    encoding = 'raw',
    quality = DEFAULT_QUALITY,
    shardBytes: limit = DEFAULT_SHARD_BYTES,
  } = options;
  const xxh64 = await loadXxh64();
  const origin = originOf(options, fingerprint);
  const onImage = (done: number) => onProgress?.(done, images.count);
  const shards: FinishedShard[] = [];
  let first = 0;
  while (first < images.count) {
    const job = {
      ...{ images: files, targets: images.targets, encoding, quality, concurrency, signal },
      ...{ out, file: shardFile(shards.length), first, limit, origin, onImage },
    };
    const shard = (await finishedShard(job, xxh64)) ?? (await writeSound(job, xxh64));
    shards.push(shard);
    first = shard.record.samples[1];
    onProgress?.(first, images.count);
    throwIfAborted(signal);
  }
  return shards;
}

/** Looks at all further images when one is damaged, to name them all at once. */
async function writeSound(job: ShardJob, xxh64: Xxh64): Promise<FinishedShard> {
  try {
    return await writeShard(job, xxh64);
  } catch (error) {
    const { images, first, concurrency, signal } = job;
    throw await namingAllDamaged(error, images, { first, concurrency, signal });
  }
}

/** Identifies the run: shards of another one that was interrupted in the same place are not reused. */
function originOf(
  {
    images,
    encoding = 'raw',
    quality = DEFAULT_QUALITY,
    shardBytes = DEFAULT_SHARD_BYTES,
  }: PackImagesOptions,
  fingerprint: JsonObject,
): string {
  const options = { encoding, quality, shardBytes };
  const { id, classNames = null, targets } = images;
  const classes = { classNames, targets: targets === undefined ? null : digest(targets) };
  return sha256(
    Buffer.from(JSON.stringify(canonicalJson({ id, fingerprint, classes, options }, 'origin'))),
  );
}

function digest(values: Uint32Array): string {
  const { buffer, byteOffset, byteLength } = values;
  return createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex');
}

/** The size that all shards share, or null. */
function commonSize(
  sizes: readonly (readonly [number, number] | null)[],
): readonly [number, number] | null {
  const [first] = sizes;
  return sizes.every((size) => String(size) === String(first)) ? first : null;
}
