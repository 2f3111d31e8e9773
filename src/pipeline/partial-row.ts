import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '../container/checksum.js';
import { removeTemporaries } from '../container/durable.js';
import { readTensorFile, writeTensorFile } from '../container/tensor-file.js';
import { errorCode } from '../errors.js';
import { onFile } from '../store/file-error.js';

const FILE = 'unfinished-row.safetensors';
/** Between saves, milliseconds: what a killed run loses at most, with a teacher that takes hours an epoch. */
const INTERVAL = 60_000;

/** Labels of the epoch in progress, float16 [samples, classes], kept next to the archive until the epoch is complete. */
export class PartialRow {
  readonly values: Uint16Array<ArrayBuffer>;
  readonly #path: string;
  readonly #archiveId: string;
  readonly #classes: number;
  /** Labels done, from the first on. */
  #done = 0;
  #saved = 0;
  #savedAt = performance.now();

  private constructor(directory: string, archiveId: string, samples: number, classes: number) {
    this.values = new Uint16Array(samples * classes);
    this.#path = join(directory, FILE);
    this.#archiveId = archiveId;
    this.#classes = classes;
  }

  /** With what an interrupted run of the same archive left of this epoch. */
  static async open(
    directory: string,
    archive: { readonly archiveId: string; readonly nextEpoch: number },
    samples: number,
    classes: number,
  ): Promise<PartialRow> {
    const row = new PartialRow(directory, archive.archiveId, samples, classes);
    const file = await readTensorFile(row.#path).catch((error: unknown) => {
      // Missing or incomplete: start from scratch.
      if (['NOT_FOUND', 'INVALID_FILE'].includes(errorCode(error) ?? '')) return undefined;
      throw error;
    });
    const { archiveId, epoch, ...kept } = Object.fromEntries(file?.metadata ?? []);
    const labels = file?.tensors.get('labels');
    const same = archiveId === archive.archiveId && Number(epoch) === archive.nextEpoch;
    if (!same || labels === undefined || labels.shape[0] > samples) return row;
    // A bit that changed on disk would become a label of the archive.
    if (kept.sha256 !== sha256(labels.data)) return row;
    row.values.set(
      new Uint16Array(labels.data.buffer, labels.data.byteOffset, labels.data.length / 2),
    );
    row.#done = labels.shape[0];
    row.#saved = row.#done;
    return row;
  }

  get done(): number {
    return this.#done;
  }

  /** The next labels in order; saved now and then. */
  async add(epoch: number, halves: Uint16Array): Promise<void> {
    this.values.set(halves, this.#done * this.#classes);
    this.#done += halves.length / this.#classes;
    if (performance.now() - this.#savedAt > INTERVAL) await this.save(epoch);
  }

  /** Does nothing if no label came since the last save. */
  async save(epoch: number): Promise<void> {
    if (this.#done === this.#saved) return;
    const shape = [this.#done, this.#classes];
    const { buffer } = this.values;
    const data = new Uint8Array(buffer, 0, 2 * this.#done * this.#classes);
    const metadata = { archiveId: this.#archiveId, epoch: String(epoch), sha256: sha256(data) };
    await writeTensorFile(
      this.#path,
      new Map([['labels', { dtype: 'F16', shape, data }]]),
      metadata,
    );
    this.#saved = this.#done;
    this.#savedAt = performance.now();
  }

  /** For the next epoch. */
  clear(): void {
    this.#done = 0;
    this.#saved = 0;
  }

  /** For an archive whose rows are all written. */
  static async remove(directory: string): Promise<void> {
    const path = join(directory, FILE);
    await onFile(path, () => rm(path, { force: true }));
    await removeTemporaries(directory, [FILE]);
  }
}
