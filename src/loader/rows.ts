import type { LabelArchive } from '../archive/archive.js';

/** Columns of one epoch, shared with the workers. */
export interface EpochRows {
  readonly codes: Uint8Array;
  /** Other columns, by name. */
  readonly columns: Readonly<Record<string, Uint8Array>>;
}

/** Rows of the epoch that is being delivered and of the one after it, which is read ahead. */
export class RowReader {
  readonly #archive: LabelArchive;
  readonly #columns: readonly (readonly string[])[];
  readonly #rows = new Map<number, Promise<EpochRows>>();
  #readMs = 0;

  /** @param columns to read besides the codes, for each part of the archive. */
  constructor(archive: LabelArchive, columns: readonly (readonly string[])[]) {
    this.#archive = archive;
    this.#columns = columns;
  }

  /** Milliseconds spent waiting for rows so far, mostly while training goes on. */
  get readMs(): number {
    return this.#readMs;
  }

  /** The rows of `epoch`; then starts to read those of the next one below `lastEpoch`. */
  async read(epoch: number, lastEpoch: number): Promise<EpochRows> {
    const rows = await this.#start(epoch);
    if (epoch + 1 < lastEpoch) this.#start(epoch + 1);
    for (const known of this.#rows.keys()) if (known < epoch) this.#rows.delete(known);
    return rows;
  }

  clear(): void {
    this.#rows.clear();
  }

  #start(epoch: number): Promise<EpochRows> {
    const known = this.#rows.get(epoch);
    if (known !== undefined) return known;
    const rows = this.#readRows(epoch);
    this.#rows.set(epoch, rows);
    // A failure may be temporary: it is reported to whoever waits and not kept.
    rows.catch(() => this.#rows.delete(epoch));
    return rows;
  }

  async #readRows(epoch: number): Promise<EpochRows> {
    const start = performance.now();
    const codes = await this.#archive.readRow(epoch);
    const columns: Record<string, Uint8Array> = {};
    const { index } = this.#archive.partOf(epoch);
    for (const name of this.#columns[index] ?? [])
      columns[name] = await this.#archive.readRow(epoch, name);
    this.#readMs += performance.now() - start;
    return { codes, columns };
  }
}
