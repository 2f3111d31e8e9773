import { sha256 } from '../container/checksum.js';
import {
  parseSafetensorsHeader,
  readSafetensorsHeader,
  type SafetensorsLayout,
} from '../container/safetensors.js';
import {
  indexOf,
  MAX_SHARD_BYTES,
  MAX_SHARDS,
  type OpenShard,
  planChecksummed,
  requireTensor,
  type ShardIndex,
} from '../container/shard-file.js';
import { elementBytes } from '../core/dtypes.js';
import { invalidFile, SoftpackError } from '../errors.js';
import type { ByteFile } from '../store/byte-store.js';
import { packingWords } from './codec-files.js';
import type { ArchiveIdentity, Column } from './identity.js';

/**
 * A shard: the rows of consecutive epochs as one safetensors file. Each column is one tensor, with one row per
 * epoch; the last tensor holds the checksum of every block of the data section before it.
 */

/** Epochs [begin, end) of all samples. */
export interface Rectangle {
  readonly file: string;
  readonly epochs: readonly [number, number];
  readonly samples: readonly [number, number];
}

const DEFAULT_SHARD_BYTES = 256 * 2 ** 20;

/** Divides the epochs evenly among as few shards of about `shardBytes` as they need. */
export function planRectangles(
  { epochs, samples, columns }: Pick<ArchiveIdentity, 'epochs' | 'samples' | 'columns'>,
  shardBytes = DEFAULT_SHARD_BYTES,
): readonly Rectangle[] {
  const rowBytes = columns.reduce((sum, column) => sum + column.rowBytes, 0);
  if (rowBytes > MAX_SHARD_BYTES) {
    throw new SoftpackError('UNSUPPORTED', 'one epoch exceeds the size of a shard', {
      field: 'columns',
      expected: `at most ${MAX_SHARD_BYTES} bytes per epoch`,
      found: rowBytes,
    });
  }
  if (!(shardBytes >= 1 && shardBytes <= MAX_SHARD_BYTES)) {
    const details = { field: 'shardBytes', expected: `1 to ${MAX_SHARD_BYTES}`, found: shardBytes };
    throw new SoftpackError('INVALID_ARGUMENT', 'shardBytes out of range', details);
  }
  const epochsEach = Math.max(1, Math.floor(shardBytes / Math.max(1, rowBytes)));
  const count = Math.ceil(epochs / epochsEach);
  if (count > MAX_SHARDS) {
    const details = { field: 'shardBytes', expected: `at most ${MAX_SHARDS} shards`, found: count };
    throw new SoftpackError('INVALID_ARGUMENT', 'too many shards', details);
  }
  const edge = (i: number) => Math.floor((i * epochs) / count);
  return Array.from({ length: count }, (_, i) => ({
    file: `codes-${digits(i, 5)}-of-${digits(count, 5)}.safetensors`,
    epochs: [edge(i), edge(i + 1)] as const,
    samples: [0, samples] as const,
  }));
}

/** Header and layout of a shard before any of its rows is known. */
export function planShard(
  identity: ArchiveIdentity,
  archiveId: string,
  rectangle: Rectangle,
): { readonly header: Uint8Array; readonly index: ShardIndex } {
  const rows = rectangle.epochs[1] - rectangle.epochs[0];
  const columns = identity.columns.map(({ name, dtype, rowBytes }) => ({
    name: tensorName(name, rectangle),
    dtype,
    shape: [rows, rowBytes / elementBytes(dtype)],
  }));
  const { header, layout } = planChecksummed(columns, tensorName('block_xxh64', rectangle), {
    format: 'softpack shard',
    archive: archiveId,
    epochs: rectangle.epochs.join(':'),
    samples: rectangle.samples.join(':'),
    packing: packingWords(identity.layout, identity.samples),
  });
  return { header, index: locate('planned shard', layout, identity.columns, rectangle) };
}

/** Tensor names contain their rectangle, so that they differ between shards. */
function tensorName(column: string, { epochs, samples }: Rectangle): string {
  const [e0, e1] = epochs.map((epoch) => digits(epoch, 5));
  const [s0, s1] = samples.map((sample) => digits(sample, 8));
  return `${column}.e${e0}-${e1}.s${s0}-${s1}`;
}

function digits(value: number, count: number): string {
  return String(value).padStart(count, '0');
}

function locate(
  file: string,
  layout: SafetensorsLayout,
  columns: readonly Column[],
  rectangle: Rectangle,
): ShardIndex {
  const rows = rectangle.epochs[1] - rectangle.epochs[0];
  const begins = columns.map(({ name, dtype, rowBytes }) => {
    const shape = [rows, rowBytes / elementBytes(dtype)];
    const begin = requireTensor(file, layout, tensorName(name, rectangle), dtype, shape);
    return [name, layout.dataOffset + begin] as const;
  });
  return indexOf(file, layout, tensorName('block_xxh64', rectangle), new Map(begins));
}

/**
 * Reads header and checksums. `INVALID_FILE` if the file is not the shard of this archive and rectangle.
 */
export async function openShard(
  file: ByteFile,
  columns: readonly Column[],
  archiveId: string,
  rectangle: Rectangle,
): Promise<OpenShard> {
  const header = await readSafetensorsHeader(file);
  const layout = parseSafetensorsHeader(file.name, header, file.size);
  const found = layout.metadata.get('archive');
  if (found !== archiveId) {
    const details = { expected: archiveId, found: found ?? 'nothing' };
    throw invalidFile(file.name, '__metadata__.archive', 'shard of another archive', details);
  }
  const index = locate(file.name, layout, columns, rectangle);
  const table = new Uint8Array(8 * index.blocks);
  await file.read(index.tableOffset, table);
  return { file, index, header, table, indexSha256: sha256(header, table) };
}
