import type { LabelArchive, PartOfEpoch } from '../archive/archive.js';

/** Columns of one epoch in one part of an archive, shared with the workers. */
export interface EpochRows {
  readonly part: PartOfEpoch;
  readonly codes: Uint8Array;
  /** Other columns, by name. */
  readonly columns: Readonly<Record<string, Uint8Array>>;
  /** Side data of all samples, as `core/blocks` has them, if the codec keeps them in blocks. */
  readonly sampleBlocks?: Uint8Array;
}

/** Rows of the epoch that is being delivered and of the one after it, which is read ahead. */
export class RowReader {
  readonly #archive: LabelArchive;
  readonly #columns: readonly (readonly string[])[];
  readonly #rows = new Map<number, Promise<readonly EpochRows[]>>();
  /** By part. A shuffled epoch needs all of them, which take less than its codes. */
  readonly #sampleBlocks = new Map<number, Promise<Uint8Array | undefined>>();
  readonly #decodes: boolean;
  #readMs = 0;

  /** @param columns to read besides the codes, for each part of the archive. @param decodes read side data, too. */
  constructor(archive: LabelArchive, columns: readonly (readonly string[])[], decodes: boolean) {
    this.#decodes = decodes;
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
    this.#sampleBlocks.clear();
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
      const sampleBlocks = this.#decodes ? await this.#sideOf(part) : undefined;
      all.push({ part, codes, columns, ...(sampleBlocks && { sampleBlocks }) });
    }
    this.#readMs += performance.now() - start;
    return all;
  }

  #sideOf({ archive, index }: PartOfEpoch): Promise<Uint8Array | undefined> {
    const known = this.#sampleBlocks.get(index);
    const reading = known ?? archive.wholeCodec().then(({ sampleBlocks }) => sampleBlocks?.row);
    this.#sampleBlocks.set(index, reading);
    reading.catch(() => this.#sampleBlocks.delete(index));
    return reading;
  }
}
