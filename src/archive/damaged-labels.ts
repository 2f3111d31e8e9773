import type { Rectangle } from './grid.js';
import type { ArchiveIdentity, Column } from './identity.js';
import { blocksPerRow, columnBytes, type OpenShard } from './shard.js';

/** Labels that some bytes of a shard belong to. */

/** A rectangle of a column. */
export interface DamagedLabels {
  /** `codes` for the labels themselves; other columns hold views or what a codec needs. */
  readonly column: string;
  /** Stored epochs (batches of a pruned archive), [first, after the last]. */
  readonly epochs: readonly [number, number];
  readonly samples: readonly [number, number];
}

type Shape = Pick<ArchiveIdentity, 'columns' | 'layout' | 'samples'>;
type Span = readonly [number, number];

/** All labels of a rectangle. */
export function allLabels({ columns }: Shape, { epochs, samples }: Rectangle): DamagedLabels[] {
  return columns.map(({ name }) => ({ column: name, epochs, samples }));
}

/**
 * Labels that lie in bytes of the file; none for padding.
 *
 * @param shard of the `blocks` layout with its offsets.
 */
export function labelsIn(
  shape: Shape,
  rectangle: Rectangle,
  shard: OpenShard,
  [begin, end]: Span,
): readonly DamagedLabels[] {
  const [from, to] = rectangle.samples;
  const rows = rectangle.epochs[1] - rectangle.epochs[0];
  return shape.columns.flatMap((column) => {
    const at = shard.index.columns.get(column.name) ?? 0;
    const bytes = columnBytes(shape, column, to - from);
    const [perRow, cells] =
      bytes === undefined
        ? [blocksPerRow(shape, rectangle), blocksIn(shard.offsets, [begin - at, end - at])]
        : [bytes, clip([begin - at, end - at], rows * bytes)];
    const samplesOf = (span: Span): Span => {
      const [first, last] = samplesIn(shape, column, to - from, span);
      return [from + first, Math.min(to, from + last)];
    };
    return rectanglesOf(cells, perRow).map(([epochs, span]) => ({
      column: column.name,
      epochs: [rectangle.epochs[0] + epochs[0], rectangle.epochs[0] + epochs[1]] as const,
      samples: samplesOf(span),
    }));
  });
}

function clip([begin, end]: Span, size: number): Span {
  return [Math.max(0, begin), Math.min(size, end)];
}

/** Numbers of the blocks of codes with some of these bytes, [first, after the last]. */
function blocksIn(offsets: BigUint64Array = new BigUint64Array(1), [begin, end]: Span): Span {
  const blocks = offsets.length - 1;
  let first = 0;
  while (first < blocks && Number(offsets[first + 1]) <= begin) first++;
  let last = first;
  while (last < blocks && Number(offsets[last]) < end) last++;
  return [first, last];
}

/** Rows of `perRow` cells each that hold the cells: at most two parts of rows, with whole rows between them. */
function rectanglesOf([begin, end]: Span, perRow: number): readonly (readonly [Span, Span])[] {
  const found: (readonly [Span, Span])[] = [];
  for (let at = begin; at < end; ) {
    const row = Math.floor(at / perRow);
    const first = at - row * perRow;
    const whole = first === 0 ? Math.floor((end - at) / perRow) : 0;
    const rows = Math.max(1, whole);
    const last = whole > 0 ? perRow : Math.min(perRow, first + end - at);
    found.push([
      [row, row + rows],
      [first, last],
    ]);
    at = (row + rows - 1) * perRow + last;
  }
  return found;
}

/** Samples of a row, counted from its first one, that some of its bytes (or blocks) belong to. */
function samplesIn(shape: Shape, column: Column, count: number, [first, last]: Span): Span {
  const { layout } = shape;
  if (column === shape.columns[0]) {
    if (layout.kind === 'blocks') {
      return [first * layout.labelsPerBlock, last * layout.labelsPerBlock];
    }
    const { bitsPerLabel } = layout;
    return [Math.floor((8 * first) / bitsPerLabel), Math.ceil((8 * last) / bitsPerLabel)];
  }
  const bytes = column.rowBytes / shape.samples;
  if (!Number.isInteger(bytes)) return [0, count];
  return [Math.floor(first / bytes), Math.ceil(last / bytes)];
}
