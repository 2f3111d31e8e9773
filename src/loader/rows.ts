import type { LabelArchive, PartOfEpoch } from '../archive/archive.js';

/** Columns of one epoch in one part of an archive, shared with the workers. */
export interface EpochRows {
  readonly part: PartOfEpoch;
  readonly codes: Uint8Array;
  /** Other columns, by name. */
  readonly columns: Readonly<Record<string, Uint8Array>>;
}

/** Rows of the epoch that is being delivered and of the one after it, which is read ahead. */
export class RowReader {
  readonly #archive: LabelArchive;
  readonly #columns: readonly (readonly string[])[];
  readonly #rows = new Map<number, Promise<readonly EpochRows[]>>();
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

  /** The rows of `epoch`, by part in order of samples; then starts to read those of the next one below `lastEpoch`. */
  async read(epoch: number, lastEpoch: number): Promise<readonly EpochRows[]> {
    const rows = await this.#start(epoch);
    if (epoch + 1 < lastEpoch) this.#start(epoch + 1);
    for (const known of this.#rows.keys()) if (known < epoch) this.#rows.delete(known);
    return rows;
  }

  clear(): void {
    this.#rows.clear();
  }

  #start(epoch: number): Promise<readonly EpochRows[]> {
    const known = this.#rows.get(epoch);
    if (known !== undefined) return known;
    const rows = this.#readRows(epoch);
    this.#rows.set(epoch, rows);
    // A failure may be temporary: it is reported to whoever waits and not kept.
    rows.catch(() => this.#rows.delete(epoch));
    return rows;
  }

  async #readRows(epoch: number): Promise<readonly EpochRows[]> {
    const start = performance.now();
    const all: EpochRows[] = [];
    for (const part of this.#archive.partsOf(epoch)) {
      const { archive, epoch: row, index } = part;
      const codes = await archive.readRow(row);
      const columns: Record<string, Uint8Array> = {};
      for (const name of this.#columns[index] ?? [])
        columns[name] = await archive.readRow(row, name);
      all.push({ part, codes, columns });
    }
    this.#readMs += performance.now() - start;
    return all;
  }
}
