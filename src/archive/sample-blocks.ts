import { sha256, type Xxh64 } from '../container/checksum.js';
import { blockSums } from '../container/tensor-blocks.js';
import { decodeTensorFile } from '../container/tensor-file.js';
import { allocate } from '../core/allocate.js';
import { splitBlocks } from '../core/blocks.js';
import type { CodecParts, SampleBlocks } from '../core/codec-parts.js';
import { isSoftpackError, SoftpackError } from '../errors.js';
import type { ByteStore } from '../store/byte-store.js';
import { openSound } from '../store/open-sound.js';
import { type PlannedFile, writePlannedFile } from './codec-files.js';
import type { FileRecord } from './file-record.js';
import { rectangleAt, shardCount } from './grid.js';
import type { ArchiveIdentity } from './identity.js';
import {
  asSampleFile,
  SAMPLE_TABLE_FILE,
  type SampleBlocksRecord,
  sampleExtent,
  sampleGrid,
} from './sample-record.js';
import { planShard } from './shard.js';
import { encodeShardTable, type ShardRecord, type Shards, tabledShards } from './shards.js';

/**
 * Side data per sample in files of a range of samples each: shards of a single epoch in the layout `blocks`, with a table
 * like that of the labels' shards. They are written before the first label and are part of what an archive is.
 */

/** Some MB, for codecs that keep tens of bytes a sample. */
const SAMPLES_PER_FILE = 2 ** 18;

/** What its files are shards of. */
export interface SampleShape extends Pick<ArchiveIdentity, 'columns' | 'layout' | 'samples'> {
  /** sha256 of the codec's file: side data mean nothing to another codec. */
  readonly archiveId: string;
}

type Sized = Pick<SampleBlocksRecord, 'samples' | 'samplesPerBlock'>;

export function sampleShape(
  { samples, samplesPerBlock }: Sized,
  codecFile: Pick<FileRecord, 'sha256'>,
): SampleShape {
  return {
    ...{ archiveId: codecFile.sha256, samples },
    columns: [{ name: 'codes', dtype: 'U8', rowBytes: 0 }],
    layout: { kind: 'blocks', labelsPerBlock: samplesPerBlock },
  };
}

/** Its files as the table records them. */
export function sampleShards(
  source: ByteStore,
  record: SampleBlocksRecord,
  verify: boolean,
): Promise<Shards> {
  return openSound(source, record.table.file, async (file) => {
    const { tensors } = await decodeTensorFile(file, record.table, verify);
    const shards = tabledShards(file.name, tensors, sampleGrid(record), sampleExtent(record));
    return { ...shards, at: (i) => asSampleFile(shards.at(i)) };
  });
}

/** Table and files, as far as the table tells them. */
export async function recordedSampleFiles(
  source: ByteStore,
  record: SampleBlocksRecord,
): Promise<readonly FileRecord[]> {
  const shards = await sampleShards(source, record, true).catch((error: unknown) => {
    if (isSoftpackError(error)) return undefined;
    throw error;
  });
  const files = Array.from({ length: shards?.count ?? 0 }, (_, i) => shards?.at(i));
  return [record.table, ...files].filter((file) => file !== undefined);
}

/** Side data before they are written: a file is made when it is asked for, and has the same bytes every time. */
export interface PlannedSampleBlocks {
  readonly record: SampleBlocksRecord;
  readonly table: PlannedFile;
  readonly count: number;
  file(i: number): PlannedFile;
}

export function planSampleBlocks(
  { sampleBlocks }: Pick<CodecParts, 'sampleBlocks'>,
  codecFile: FileRecord,
  xxh64: Xxh64,
  perFile = SAMPLES_PER_FILE,
): PlannedSampleBlocks | undefined {
  if (sampleBlocks === undefined) return undefined;
  const blocks = requireBlocks(sampleBlocks);
  const { samples, samplesPerBlock } = sampleBlocks;
  const samplesPerFile = Math.ceil(perFile / samplesPerBlock) * samplesPerBlock;
  const [grid, extent] = [sampleGrid({ samplesPerFile }), sampleExtent({ samples })];
  const shape = sampleShape({ samples, samplesPerBlock }, codecFile);
  const made = (i: number) => {
    const { samples: range, ...rectangle } = asSampleFile(rectangleAt(grid, extent, i));
    const [from, to] = range.map((sample) => Math.ceil(sample / samplesPerBlock));
    return encodeFile(shape, { ...rectangle, samples: range }, blocks.slice(from, to), xxh64);
  };
  const count = shardCount(grid, extent);
  const records = Array.from({ length: count }, (_, i) => made(i).record);
  const bytes = encodeShardTable(records, SAMPLE_TABLE_FILE);
  const table = { file: SAMPLE_TABLE_FILE, bytes: bytes.length, sha256: sha256(bytes) };
  return {
    record: { samples, samplesPerBlock, samplesPerFile, table },
    table: { record: table, bytes },
    count,
    file: made,
  };
}

function requireBlocks({ samples, samplesPerBlock, row }: SampleBlocks): readonly Uint8Array[] {
  const blocks = row === undefined ? [] : splitBlocks(row, 'codec.sampleBlocks.row');
  const expected = Math.ceil(samples / samplesPerBlock);
  if (blocks.length === expected) return blocks;
  throw new SoftpackError('INVALID_ARGUMENT', 'not the side data of all samples', {
    field: 'codec.sampleBlocks.row',
    expected: `${expected} blocks`,
    found: row === undefined ? 'none' : blocks.length,
  });
}

/** Writes the files that are not there yet, the table last. */
export async function writeSampleBlocks(
  directory: string,
  { count, file, table }: PlannedSampleBlocks,
): Promise<void> {
  for (let i = 0; i < count; i++) await writePlannedFile(directory, file(i));
  await writePlannedFile(directory, table);
}

/** A file of these blocks. */
function encodeFile(
  shape: SampleShape,
  rectangle: Pick<ShardRecord, 'file' | 'epochs' | 'samples'>,
  blocks: readonly Uint8Array[],
  xxh64: Xxh64,
): PlannedFile & { readonly record: ShardRecord } {
  const size = blocks.reduce((sum, { length }) => sum + length, 0);
  const { header, index } = planShard(shape, shape.archiveId, rectangle, size);
  const bytes = new Uint8Array(allocate(index.fileBytes, rectangle.file));
  bytes.set(header);
  const offsets = new BigUint64Array(blocks.length + 1);
  let at = index.columns.get('codes') ?? 0;
  for (const [i, block] of blocks.entries()) {
    bytes.set(block, at);
    at += block.length;
    offsets[i + 1] = offsets[i] + BigInt(block.length);
  }
  bytes.set(new Uint8Array(offsets.buffer), index.columns.get('codes_offsets') ?? 0);
  const table = blockSums(bytes, index, xxh64);
  bytes.set(table, index.tableOffset);
  const hashes = { sha256: sha256(bytes), indexSha256: sha256(header, table) };
  return { record: { ...rectangle, bytes: bytes.length, ...hashes }, bytes };
}
