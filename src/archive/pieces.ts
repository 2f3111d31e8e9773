import { joinBlocks, splitBlocks } from '../core/blocks.js';
import { argument } from '../core/check.js';
import { SoftpackError } from '../errors.js';
import { canCutRows, labelAlignment, storedEpochs } from './grid.js';
import type { Piece } from './log-records.js';
import { columnBytes } from './shard.js';
import type { DividedIdentity } from './spec.js';

/** Some labels of every column, by name: a row, or the labels of some consecutive samples. */
export type ArchiveRow = Readonly<Record<string, Uint8Array>>;

/** One record of a log: small enough to lose, large enough to write in one go. */
const PIECE_BYTES = 16 * 2 ** 20;

/** `INVALID_ARGUMENT` naming what is wrong with a piece or its columns. */
export function requirePiece(identity: DividedIdentity, piece: Piece, columns: ArchiveRow): void {
  const { samples } = identity;
  argument.count(piece.epoch, 'epoch', 0, storedEpochs(identity) - 1);
  argument.count(piece.start, 'start', 0, samples - 1);
  argument.count(piece.count, 'count', 1, samples - piece.start);
  const alignment = labelAlignment(identity.layout);
  const end = piece.start + piece.count;
  const cut = (at: number) => at === 0 || at === samples || at % alignment === 0;
  if (!cut(piece.start) || !cut(end) || (piece.count < samples && !canCutRows(identity))) {
    throw new SoftpackError('INVALID_ARGUMENT', 'rows cannot be cut there', {
      field: 'start',
      expected: canCutRows(identity) ? `multiples of ${alignment}` : 'whole rows',
      found: `${piece.start} to ${end}`,
    });
  }
  requireColumns(identity, piece, columns);
}

function requireColumns(identity: DividedIdentity, { count }: Piece, row: ArchiveRow): void {
  const { columns, layout } = identity;
  for (const column of columns) {
    const { name } = column;
    const bytes = columnBytes(identity, column, count);
    const found = row[name]?.length;
    if (found !== undefined && found === (bytes ?? found)) continue;
    const expected = `${bytes ?? 'some'} bytes`;
    const details = { field: `row.${name}`, expected, found: found ?? 'nothing' };
    throw new SoftpackError('INVALID_ARGUMENT', 'wrong row length', details);
  }
  const names = columns.map(({ name }) => name);
  const unknown = Object.keys(row).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    const details = { field: `row.${unknown}`, expected: names.join(', ') };
    throw new SoftpackError('INVALID_ARGUMENT', 'no such column', details);
  }
  if (layout.kind === 'blocks') {
    const found = splitBlocks(row.codes, 'row.codes').length;
    argument.that(
      found === Math.ceil(count / layout.labelsPerBlock),
      found,
      'row.codes',
      `${Math.ceil(count / layout.labelsPerBlock)} blocks`,
    );
    return;
  }
  const usedBits = (count * layout.bitsPerLabel) % 8;
  const rest = usedBits === 0 ? 0 : (row.codes.at(-1) ?? 0) >> usedBits;
  if (rest === 0) return;
  const details = { field: 'row.codes', expected: 'zero bits after the last label', found: rest };
  throw new SoftpackError('INVALID_ARGUMENT', 'bits beyond the last label are set', details);
}

/** Cuts a piece where shards end, and so that no part is large. Columns in the order of the archive's. */
export function* cutRow(
  identity: DividedIdentity,
  { epoch, start, count }: Piece,
  row: ArchiveRow,
): Generator<readonly [Piece, readonly Uint8Array[]]> {
  const end = start + count;
  const each = labelsPerPiece(identity, count, row);
  const blocks = identity.layout.kind === 'blocks' ? splitBlocks(row.codes) : [];
  for (let at = start; at < end; ) {
    const { samples } = identity.grid;
    const shardEnd = (Math.floor(at / samples) + 1) * samples;
    // Pieces end at multiples of their size, wherever a run begins: those of another run are the same.
    const next = Math.min(end, shardEnd, (Math.floor(at / each) + 1) * each);
    const from = at - start;
    const to = next - start;
    const columns = identity.columns.map((column, i) => {
      const { layout } = identity;
      if (i === 0 && layout.kind === 'blocks') {
        const { labelsPerBlock } = layout;
        const part = blocks.slice(from / labelsPerBlock, Math.ceil(to / labelsPerBlock));
        return joinBlocks(part);
      }
      const bytes = (labels: number) =>
        labels === 0 ? 0 : (columnBytes(identity, column, labels) ?? 0);
      return row[column.name].subarray(bytes(from), bytes(to));
    });
    yield [{ epoch, start: at, count: next - at }, columns];
    at = next;
  }
}

function labelsPerPiece(identity: DividedIdentity, count: number, row: ArchiveRow): number {
  if (!canCutRows(identity)) return identity.samples;
  const bytes = identity.columns.reduce((sum, { name }) => sum + row[name].length, 0);
  const alignment = labelAlignment(identity.layout);
  const fitting = Math.floor((PIECE_BYTES / Math.max(1, bytes)) * count);
  return Math.max(alignment, Math.floor(fitting / alignment) * alignment);
}
