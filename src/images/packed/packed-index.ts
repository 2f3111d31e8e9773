import { join } from 'node:path';
import { loadXxh64, requireSize, type Xxh64 } from '../../container/checksum.js';
import {
  MANIFEST_FILE,
  MAX_MANIFEST_BYTES,
  type OpenShard,
  readVerified,
} from '../../container/shard-file.js';
import { MAX_SIDE } from '../../core/limits.js';
import { invalidFile, SoftpackError } from '../../errors.js';
import { localStore } from '../../store/local.js';
import {
  type ImageEncoding,
  type ImageShardRecord,
  type ImagesManifest,
  parseImagesManifest,
} from './manifest.js';
import { NO_TARGET, openImageShard } from './shard.js';

/** Where every image of a packed file lies. All arrays are over shared memory: one copy for all threads. */
export interface PackedIndex {
  readonly encoding: ImageEncoding;
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
  /** Where blocks begin and end in the file. */
  readonly dataOffset: number;
  readonly tableOffset: number;
  /** xxh64 of every block. */
  readonly table: Uint8Array;
  /** [blocks], 1 where some thread has held the block against its checksum. */
  readonly verified: Uint8Array;
}

/** Reads manifest, headers and the tables of positions; no image. */
export async function readPackedIndex(
  directory: string,
): Promise<{ readonly manifest: ImagesManifest; readonly index: PackedIndex }> {
  const source = localStore(directory);
  const file = await source.open(MANIFEST_FILE);
  if (file.size > MAX_MANIFEST_BYTES) {
    const details = { expected: `at most ${MAX_MANIFEST_BYTES}`, found: file.size };
    throw invalidFile(file.name, 'size', 'too large for a manifest', details);
  }
  const bytes = new Uint8Array(file.size);
  await file.read(0, bytes);
  const manifest = parseImagesManifest(join(directory, MANIFEST_FILE), bytes);
  const { count } = manifest;
  const begins = new Float64Array(new SharedArrayBuffer(8 * count));
  const lengths = new Uint32Array(new SharedArrayBuffer(4 * count));
  const sizes = new Uint32Array(new SharedArrayBuffer(8 * count));
  const targets = new Uint32Array(new SharedArrayBuffer(4 * count));
  const xxh64 = await loadXxh64();
  const shards: PackedShard[] = [];
  for (const record of manifest.shards) {
    const shard = await openRecorded(await source.open(record.file), record);
    const parts = await readPositions(shard, xxh64, record, manifest);
    const [begin] = record.samples;
    begins.set(parts.begins, begin);
    lengths.set(parts.lengths, begin);
    sizes.set(parts.sizes, 2 * begin);
    targets.set(parts.targets, begin);
    const { dataOffset, tableOffset, blocks } = shard.index;
    const path = join(directory, record.file);
    const verified = new Uint8Array(new SharedArrayBuffer(blocks));
    const { samples } = record;
    shards.push({ path, samples, dataOffset, tableOffset, table: shard.table, verified });
  }
  const { encoding } = manifest;
  const known = !targets.includes(NO_TARGET);
  return {
    manifest,
    index: { encoding, shards, begins, lengths, sizes, ...(known && { targets }) },
  };
}

async function openRecorded(
  file: Parameters<typeof openImageShard>[0],
  record: ImageShardRecord,
): Promise<OpenShard> {
  requireSize(file, record);
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
  if (height < 1 || width < 1 || height > MAX_SIDE || width > MAX_SIDE) return 'size out of range';
  if (size !== null && (height !== size[0] || width !== size[1])) return 'not of the common size';
  if (encoding === 'raw' && end - begin !== height * width * 3) return 'bytes do not fit its size';
  return undefined;
}
