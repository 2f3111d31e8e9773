import type { Piece, ShardPlan } from './log-records.js';
import type { PieceLog } from './seal.js';

/** A piece with its columns, in the order of the archive's. */
interface KeptPiece extends Piece {
  readonly columns: readonly Uint8Array[];
}

/** The pieces of a shard that is made anew if its writer is killed: in memory, so that its bytes are written once. */
export class MemoryLog implements PieceLog<KeptPiece> {
  readonly plan: ShardPlan;
  readonly #pieces: KeptPiece[] = [];

  constructor(plan: ShardPlan) {
    this.plan = plan;
  }

  /** Takes a piece, whose bytes belong to the log from now on. */
  add(piece: Piece, columns: readonly Uint8Array[]): void {
    this.#pieces.push({ ...piece, columns });
  }

  pieces(epoch: number): readonly KeptPiece[] {
    return this.#pieces
      .filter((piece) => piece.epoch === epoch)
      .sort((one, other) => one.start - other.start);
  }

  async *read({ columns }: KeptPiece, column: number): AsyncGenerator<Uint8Array> {
    yield columns[column];
  }

  async readHead({ columns }: KeptPiece, column: number): Promise<DataView> {
    const { buffer, byteOffset, byteLength } = columns[column];
    return new DataView(buffer, byteOffset, byteLength);
  }
}
