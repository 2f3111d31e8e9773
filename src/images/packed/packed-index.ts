import { join } from 'node:path';
import { loadXxh64, requireSize, type Xxh64 } from '../../container/checksum.js';
import {
  MANIFEST_FILE,
  MAX_MANIFEST_BYTES,
  type OpenShard,
  readVerified,
} from '../../container/shard-file.js';
import { allocateShared } from '../../core/allocate.js';
import type { JsonObject } from '../../core/json.js';
import { MAX_SIDE } from '../../core/limits.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import type { ByteFile } from '../../store/byte-store.js';
import { localStore, readLocalFile } from '../../store/local.js';
import { MAX_PIXELS } from '../formats/image-bytes.js';
import {
  type ImageEncoding,
  type ImageShardRecord,
  type ImagesManifest,
  parseImagesManifest,
} from './manifest.js';
import { NO_TARGET, openImageShard } from './shard.js';

/** Positions of all images of a packed file. All arrays are over shared memory: one copy for all threads. */
export interface PackedIndex {
  readonly encoding: ImageEncoding;
  /** As `imagesFingerprint` gives it. */
  readonly fingerprint: JsonObject;
  readonly shards: readonly PackedShard[];
  /** [samples], absolute position in the sample's shard. */
  readonly begins: Float64Array;
  /** [samples], bytes. */
  readonly lengths: Uint32Array;
  /** [samples, 2], height and width. */
  readonly sizes: Uint32Array;
  /** [samples]; absent unless every sample has a class. */
  readonly targets?: Uint32Array;
}

export interface PackedShard {
  readonly path: string;
  /** [first, after the last]. */
  readonly samples: readonly [number, number];
  /** Boundaries of the blocks in the file. */
  readonly dataOffset: number;
  readonly tableOffset: number;
  /** xxh64 of every block. */
  readonly table: Uint8Array;
  /** [blocks], 1 if some thread has verified the block. */
  readonly verified: Uint8Array;
}

/** Reads manifest, headers and the tables of positions; no image. */
export async function readPackedIndex(
  directory: string,
): Promise<{ readonly manifest: ImagesManifest; readonly index: PackedIndex }> {
  const path = join(directory, MANIFEST_FILE);
  const manifest = parseImagesManifest(path, await readLocalFile(path, MAX_MANIFEST_BYTES));
  const { count, encoding, classNames, shards: records } = manifest;
  const source = localStore(directory);
  const files: ByteFile[] = [];
  // Sizes first: they prove that there can be as many images as the manifest says.
  for (const record of records) files.push(requireRecorded(await source.open(record.file), record));
  const begins = new Float64Array(allocateShared(8 * count, `${path}: count`));
  const lengths = new Uint32Array(allocateShared(4 * count, `${path}: count`));
  const sizes = new Uint32Array(allocateShared(8 * count, `${path}: count`));
  const targets = new Uint32Array(allocateShared(4 * count, `${path}: count`));
  const xxh64 = await loadXxh64();
  const shards: PackedShard[] = [];
  for (const [i, record] of records.entries()) {
    const shard = await openRecorded(files[i], record);
    const parts = await readPositions(shard, xxh64, record, manifest);
    const [begin] = record.samples;
    begins.set(parts.begins, begin);
    lengths.set(parts.lengths, begin);
    sizes.set(parts.sizes, 2 * begin);
    targets.set(parts.targets, begin);
    const { dataOffset, tableOffset, blocks } = shard.index;
    const verified = new Uint8Array(new SharedArrayBuffer(blocks));
    const { samples } = record;
    const shardPath = join(directory, record.file);
    shards.push({
      ...{ path: shardPath, samples, dataOffset, tableOffset, table: shard.table, verified },
    });
  }
  const known = !targets.includes(NO_TARGET);
  if (known && classNames !== undefined) requireTargets(path, targets, classNames.length);
  const fingerprint = fingerprintOf(manifest);
  return {
    manifest,
    index: { encoding, fingerprint, shards, begins, lengths, sizes, ...(known && { targets }) },
  };
}

/** Id of the packed files, if decoding gives their exact pixels. */
function fingerprintOf({ sourceId, fingerprint, imagesId }: ImagesManifest): JsonObject {
  const known = sourceId !== null && fingerprint !== undefined;
  return known ? fingerprint : { kind: 'packed', id: imagesId };
}

function requireTargets(path: string, targets: Uint32Array, classes: number): void {
  const wrong = targets.findIndex((target) => target >= classes);
  if (wrong < 0) return;
  throw invalidFile(path, `classNames`, `image ${wrong} has a class without a name`, {
    expected: `a class index below ${classes}`,
    found: targets[wrong],
  });
}

function requireRecorded(file: ByteFile, record: ImageShardRecord): ByteFile {
  requireSize(file, record);
  return file;
}

async function openRecorded(file: ByteFile, record: ImageShardRecord): Promise<OpenShard> {
  const shard = await openImageShard(file, record.samples);
  if (shard.indexSha256 === record.indexSha256) return shard;
  throw new SoftpackError('CORRUPT_DATA', 'header or checksums were changed', {
    field: `${file.name}: indexSha256`,
    expected: record.indexSha256,
    found: shard.indexSha256,
  });
}

async function readPositions(
  shard: OpenShard,
  xxh64: Xxh64,
  { samples }: ImageShardRecord,
  manifest: ImagesManifest,
) {
  const count = samples[1] - samples[0];
  const read = async (column: string, bytes: Uint8Array) => {
    await readVerified(shard, xxh64, shard.index.columns.get(column) ?? 0, bytes);
  };
  const offsets = new BigUint64Array(count + 1);
  const sizes = new Uint32Array(2 * count);
  const targets = new Uint32Array(count);
  await read('offsets', new Uint8Array(offsets.buffer));
  await read('sizes', new Uint8Array(sizes.buffer));
  await read('targets', new Uint8Array(targets.buffer));
  const data = shard.index.columns.get('data') ?? 0;
  const dataBytes = shard.index.tableOffset - data;
  const begins = new Float64Array(count);
  const lengths = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const [begin, end] = [Number(offsets[i]), Number(offsets[i + 1])];
    const [height, width] = [sizes[2 * i], sizes[2 * i + 1]];
    const problem = imageProblem({ begin, end, dataBytes, height, width }, manifest);
    if (problem !== undefined) {
      throw invalidFile(shard.file.name, `image ${samples[0] + i}`, problem, {
        found: `bytes ${begin} to ${end} of ${dataBytes}, ${height} x ${width}`,
      });
    }
    begins[i] = data + begin;
    lengths[i] = end - begin;
  }
  return { begins, lengths, sizes, targets };
}

/** Lengths are stored in 32 bits; pixels take at most half of this. */
const MAX_IMAGE_BYTES = 2 ** 30;

interface ImagePlace {
  readonly begin: number;
  readonly end: number;
  readonly dataBytes: number;
  readonly height: number;
  readonly width: number;
}

function imageProblem(
  { begin, end, dataBytes, height, width }: ImagePlace,
  { encoding, size }: ImagesManifest,
): string | undefined {
  // Rounding of offsets beyond 2^53 cannot pass: no file is as long.
  if (!(begin < end && end <= dataBytes)) return 'bytes outside the shard';
  const sides = height >= 1 && width >= 1 && height <= MAX_SIDE && width <= MAX_SIDE;
  if (!sides || height * width > MAX_PIXELS) return 'size out of range';
  if (end - begin > MAX_IMAGE_BYTES) return 'too many bytes for an image';
  if (size !== null && (height !== size[0] || width !== size[1])) return 'not of the common size';
  if (encoding === 'raw' && end - begin !== height * width * 3) return 'bytes do not fit its size';
  return undefined;
}
