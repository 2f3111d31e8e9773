import { invalidFile } from '../errors.js';
import type { Manifest } from './manifest.js';
import { BatchSamples, isDrawn, type Pruning, type RowLabels, SAMPLE_COLUMN } from './pruning.js';

/** The part of an archive that tells which samples a row belongs to. */
export interface RowsArchive {
  readonly manifest: Pick<Manifest, 'samples' | 'epochs' | 'pruning'>;
  readRow(row: number, column: string): Promise<Uint8Array>;
  fileOf(row: number): string;
}

/** Labels of the rows of a pruned archive: drawn from its seed, or listed in its column. */
export class RowSamples {
  readonly #archive: RowsArchive;
  readonly #pruning: Pruning;
  readonly #drawn: BatchSamples | undefined;

  constructor(archive: RowsArchive, pruning: Pruning) {
    const { samples, epochs } = archive.manifest;
    this.#archive = archive;
    this.#pruning = pruning;
    this.#drawn = isDrawn(pruning) ? new BatchSamples(pruning, samples, epochs) : undefined;
  }

  /** Listed rows are an epoch of their own each: no two of them share views. */
  async at(row: number): Promise<RowLabels> {
    if (this.#drawn !== undefined) return this.#drawn.at(row);
    const bytes = await this.#archive.readRow(row, SAMPLE_COLUMN);
    const samples = new Uint32Array(bytes.slice().buffer);
    const wrong = samples.findIndex((id) => id >= this.#pruning.samples);
    if (wrong < 0) return { epoch: row, samples };
    const field = `column ${SAMPLE_COLUMN}: row ${row}, position ${wrong}`;
    throw invalidFile(this.#archive.fileOf(row), field, 'no such sample', {
      expected: `below ${this.#pruning.samples}`,
      found: samples[wrong],
    });
  }
}
