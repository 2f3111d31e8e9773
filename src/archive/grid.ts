import { MAX_SHARD_BYTES } from '../container/shard-file.js';
import type { CodeLayout } from '../core/codec-parts.js';
import { SoftpackError } from '../errors.js';

/** The division of an archive's labels into shards, which are rectangles of epochs x samples. */

/** Sides of a shard; those at the far edges may be shorter. Shards come in order of epochs, then of samples. */
export interface ShardGrid {
  readonly epochs: number;
  readonly samples: number;
}

export interface Rectangle {
  readonly file: string;
  /** Stored epochs, [first, after the last]. */
  readonly epochs: readonly [number, number];
  readonly samples: readonly [number, number];
}

export function labelCount({ epochs, samples }: Pick<Rectangle, 'epochs' | 'samples'>): number {
  return (epochs[1] - epochs[0]) * (samples[1] - samples[0]);
}

/** All that is divided. */
export interface Extent {
  readonly epochs: number;
  readonly samples: number;
  /** Those that are stored, if they are fewer. */
  readonly storedEpochs?: number;
}

/** The shard table has a record a shard and is read whole. */
export const MAX_GRID_SHARDS = 2 ** 20;
const DEFAULT_SHARD_BYTES = 256 * 2 ** 20;
/** More make a unit of work that is lost too dearly when its machine dies. */
const DEFAULT_SHARD_LABELS = 2 ** 20;
/** Lengths of entropy-coded labels are not known before: such shards are sized by labels alone. */
const DEFAULT_BLOCKS_LABELS = 2 ** 18;

/** Epochs whose labels are in the archive: it may serve more, see `storedEpoch` of an archive. */
export function storedEpochs({ epochs, storedEpochs: stored = epochs }: Extent): number {
  return stored;
}

/** `INVALID_ARGUMENT` unless there is such an epoch. */
export function requireEpoch(epoch: number, epochs: number): void {
  if (Number.isInteger(epoch) && epoch >= 0 && epoch < epochs) return;
  const details = { field: 'epoch', expected: `0 to ${epochs - 1}`, found: epoch };
  throw new SoftpackError('INVALID_ARGUMENT', 'no such epoch', details);
}

/** Shards along both sides. */
function gridCounts(grid: ShardGrid, extent: Extent): readonly [number, number] {
  return [Math.ceil(storedEpochs(extent) / grid.epochs), Math.ceil(extent.samples / grid.samples)];
}

export function shardCount(grid: ShardGrid, extent: Extent): number {
  const [tall, wide] = gridCounts(grid, extent);
  return tall * wide;
}

export function rectangleAt(grid: ShardGrid, extent: Extent, i: number): Rectangle {
  const [, wide] = gridCounts(grid, extent);
  const epoch = Math.floor(i / wide) * grid.epochs;
  const sample = (i % wide) * grid.samples;
  return {
    file: `codes-${String(i).padStart(5, '0')}.safetensors`,
    epochs: [epoch, Math.min(epoch + grid.epochs, storedEpochs(extent))],
    samples: [sample, Math.min(sample + grid.samples, extent.samples)],
  };
}

/** The shard with the label of a stored epoch and a sample. */
export function shardOf(grid: ShardGrid, extent: Extent, epoch: number, sample: number): number {
  const [, wide] = gridCounts(grid, extent);
  return Math.floor(epoch / grid.epochs) * wide + Math.floor(sample / grid.samples);
}

/** Rows may be cut before labels whose numbers are multiples of this: at whole bytes, or between blocks. */
export function labelAlignment(layout: CodeLayout): number {
  if (layout.kind === 'blocks') return layout.labelsPerBlock;
  return [1, 2, 4].find((labels) => (labels * layout.bitsPerLabel) % 8 === 0) ?? 8;
}

interface Divided extends Extent {
  readonly layout: CodeLayout;
  readonly columns: readonly { readonly name: string; readonly rowBytes: number }[];
}

/** Whether every column has as many bytes for each sample, so that its rows can be cut. */
export function canCutRows({ samples, columns }: Pick<Divided, 'samples' | 'columns'>): boolean {
  return columns.every(({ name, rowBytes }) => name === 'codes' || rowBytes % samples === 0);
}

export interface GridOptions {
  /** Target size of shards, bytes; at most 1 GiB. */
  readonly shardBytes?: number;
  /** Sides of the shards, in place of a size. */
  readonly grid?: ShardGrid;
}

/** Whole rows of as many epochs as fit the target size, or parts of a row where one alone exceeds it. */
export function planGrid(divided: Divided, options: GridOptions = {}): ShardGrid {
  const { shardBytes = DEFAULT_SHARD_BYTES } = options;
  if (!(shardBytes >= 1 && shardBytes <= MAX_SHARD_BYTES)) {
    const details = { field: 'shardBytes', expected: `1 to ${MAX_SHARD_BYTES}`, found: shardBytes };
    throw new SoftpackError('INVALID_ARGUMENT', 'shardBytes out of range', details);
  }
  const grid = options.grid ?? gridOfBytes(divided, shardBytes);
  requireGrid(divided, grid);
  return grid;
}

function gridOfBytes(divided: Divided, shardBytes: number): ShardGrid {
  const { samples, layout } = divided;
  const epochs = storedEpochs(divided);
  const most = layout.kind === 'fixed' ? DEFAULT_SHARD_LABELS : DEFAULT_BLOCKS_LABELS;
  const labels = Math.max(1, Math.min(most, Math.floor(shardBytes / labelBytes(divided))));
  const rows = Math.max(1, Math.floor(labels / samples));
  if (samples <= labels || !canCutRows(divided)) {
    return { epochs: Math.ceil(epochs / Math.ceil(epochs / rows)), samples };
  }
  const alignment = labelAlignment(layout);
  const even = Math.ceil(samples / Math.ceil(samples / labels));
  return { epochs: 1, samples: Math.min(samples, Math.ceil(even / alignment) * alignment) };
}

/** Average over a row. */
function labelBytes({ layout, columns, samples }: Divided): number {
  const sides = columns.reduce((sum, { rowBytes }) => sum + rowBytes, 0) / samples;
  return Math.max(sides, layout.kind === 'fixed' ? layout.bitsPerLabel / 8 : 0, 2 ** -20);
}

/** `INVALID_ARGUMENT` or `UNSUPPORTED` naming what shards of this grid cannot hold. */
export function requireGrid(divided: Divided, grid: ShardGrid): void {
  const { samples, layout } = divided;
  const whole = grid.samples >= samples;
  const alignment = labelAlignment(layout);
  if (!whole && (grid.samples % alignment !== 0 || !canCutRows(divided))) {
    throw new SoftpackError('INVALID_ARGUMENT', 'rows cannot be cut there', {
      field: 'grid.samples',
      expected: canCutRows(divided) ? `a multiple of ${alignment}` : `all ${samples} samples`,
      found: grid.samples,
    });
  }
  const bytes = labelBytes(divided) * grid.epochs * Math.min(grid.samples, samples);
  if (bytes > MAX_SHARD_BYTES) {
    throw new SoftpackError('UNSUPPORTED', 'a shard exceeds its greatest size', {
      field: 'columns',
      expected: `at most ${MAX_SHARD_BYTES} bytes per shard`,
      found: Math.ceil(bytes),
    });
  }
  const count = shardCount(grid, divided);
  if (count <= MAX_GRID_SHARDS) return;
  const details = { field: 'grid', expected: `at most ${MAX_GRID_SHARDS} shards`, found: count };
  throw new SoftpackError('INVALID_ARGUMENT', 'too many shards', details);
}
