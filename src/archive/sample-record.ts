import type { FieldChecker } from '../core/check.js';
import type { JsonValue } from '../core/json.js';
import { MAX_COUNT } from './agreement.js';
import type { FileRecord } from './file-record.js';
import { MAX_GRID_SHARDS, rectangleAt, type ShardGrid, shardCount } from './grid.js';

/** What a manifest records of side data per sample that lie in blocks. */
export interface SampleBlocksRecord {
  /** Samples with side data: in a pruned archive more than a row has. */
  readonly samples: number;
  readonly samplesPerBlock: number;
  readonly samplesPerFile: number;
  /** Table of its files, as that of the labels' shards. */
  readonly table: FileRecord;
}

export const SAMPLE_TABLE_FILE = 'samples.shards.safetensors';
const MAX_SAMPLES_PER_BLOCK = 2 ** 16;

/** @param table as it was found. */
export function checkSampleBlocks(
  check: FieldChecker,
  value: JsonValue | undefined,
  table: FileRecord,
): SampleBlocksRecord {
  const given = check.object(value, 'sampleBlocks');
  const count = (name: 'samples' | 'samplesPerBlock' | 'samplesPerFile', most: number) =>
    check.count(given[name], `sampleBlocks.${name}`, 1, most);
  const { file } = table;
  check.that(file === SAMPLE_TABLE_FILE, file, 'sampleBlocks.table.file', SAMPLE_TABLE_FILE);
  const samplesPerBlock = count('samplesPerBlock', MAX_SAMPLES_PER_BLOCK);
  const [samples, samplesPerFile] = [
    count('samples', MAX_COUNT),
    count('samplesPerFile', MAX_COUNT),
  ];
  const isCut = samplesPerFile >= samples || samplesPerFile % samplesPerBlock === 0;
  const expected = `a multiple of ${samplesPerBlock}`;
  check.that(isCut, samplesPerFile, 'sampleBlocks.samplesPerFile', expected);
  const record = { samples, samplesPerBlock, samplesPerFile, table };
  const files = shardCount(sampleGrid(record), sampleExtent(record));
  const most = `${MAX_GRID_SHARDS} files`;
  check.that(files <= MAX_GRID_SHARDS, files, 'sampleBlocks.samplesPerFile', most);
  return record;
}

export function sampleGrid({ samplesPerFile }: Pick<SampleBlocksRecord, 'samplesPerFile'>) {
  return { epochs: 1, samples: samplesPerFile } satisfies ShardGrid;
}

export function sampleExtent({ samples }: Pick<SampleBlocksRecord, 'samples'>) {
  return { epochs: 1, samples };
}

/** The record of a shard under the name that side data have. */
export function asSampleFile<R extends { readonly file: string }>(record: R): R {
  return { ...record, file: record.file.replace(/^codes/, 'samples') };
}

/** Names of all files. */
export function sampleFiles(record: SampleBlocksRecord): readonly string[] {
  const [grid, extent] = [sampleGrid(record), sampleExtent(record)];
  const names = Array.from(
    { length: shardCount(grid, extent) },
    (_, i) => asSampleFile(rectangleAt(grid, extent, i)).file,
  );
  return [record.table.file, ...names];
}
