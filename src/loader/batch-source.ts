import type { Piscina } from 'piscina';
import { storedEpochs } from '../archive/grid.js';
import { errorInRow } from '../archive/read-labels.js';
import { samplesByPart, scatterRows } from '../archive/samples-by-part.js';
import type { PackedCodes } from '../codecs/codec.js';
import type { BatchArrays, BatchSetup, BatchTask } from './batch-maker.js';
import { type BatchPool, LocalBatchPool, ThreadBatchPool } from './batch-pool.js';
import type { LabelsOfBatch } from './labels-ahead.js';
import type { MetricsCounter } from './metrics.js';
import type { Batch, LoaderOptions } from './options.js';
import type { BatchPlan, Position } from './plan.js';
import type { EpochRows, RowReader } from './rows.js';
import type { Slot } from './slots.js';

export interface BatchSourceParts {
  readonly options: LoaderOptions;
  readonly plan: BatchPlan;
  readonly setup: BatchSetup;
  readonly rows: RowReader;
  readonly counter: MetricsCounter;
  /** The epoch at which the loader ends: rows of later ones are not read ahead. */
  readonly lastEpoch: number;
}

/** The part of a task that does not depend on the part of the archive. */
type Wanted = Pick<BatchTask, 'sampleIds' | 'labels' | 'labelsOnly' | 'into'>;

export interface BatchRequest {
  /** Number of the iteration: batches of earlier ones are skipped. */
  readonly run: number;
  /** Arrays to fill instead of fresh ones. */
  readonly slot: Slot | undefined;
  /** The batch's labels, decoded together with those of later batches. */
  readonly ahead: LabelsOfBatch | undefined;
  /** Called when the consumer no longer needs the batch. */
  readonly onRelease: () => void;
}

/** Makes the batch of a position from the rows of its epoch, on the loader's pool. */
export class BatchSource implements AsyncDisposable {
  readonly #parts: BatchSourceParts;
  readonly #imageShape: readonly [number, number, number];
  #pool: BatchPool | undefined;

  constructor(parts: BatchSourceParts) {
    const { images } = parts.setup;
    this.#parts = parts;
    this.#imageShape = images === undefined ? [0, 0, 3] : [...images.size, 3];
  }

  async make(position: Position, { run, slot, ahead, onRelease }: BatchRequest): Promise<Batch> {
    const { options, plan, rows, counter, lastEpoch } = this.#parts;
    const { archive } = options;
    const { epoch } = position;
    const index = plan.indexOf(position);
    const tau = archive.temperatureOf(epoch);
    const sampleIds = plan.samplesOf(position);
    const parts = await rows.read(epoch, lastEpoch);
    const lengths = this.lengths(sampleIds.length);
    const into = slot && {
      xs: slot.xs.subarray(0, lengths.xs),
      ys: slot.ys.subarray(0, lengths.ys),
    };
    const where = `batch ${index} of epoch ${epoch}`;
    const make = async (wanted: Wanted) => {
      if (parts.length === 1) return makeOfPart(parts[0], wanted);
      return this.#ofParts(parts, wanted, makeOfPart);
    };
    const makeOfPart = async (rowsOfPart: EpochRows, task: Wanted) => {
      const { part, codes: row, columns: recorded, sampleBlocks } = rowsOfPart;
      const known = { row, recorded, ...(sampleBlocks && { sampleBlocks }) };
      try {
        // Views are those of the labels' own epoch.
        const views = part.archive.storedEpoch(part.epoch);
        const reused = part.epoch >= storedEpochs(part.archive.manifest);
        const of = { run, part: part.index, firstSample: part.samples[0], epoch: views, tau };
        const shown = reused ? { reusedIn: epoch } : {};
        const made = await this.#poolInUse().make({ ...of, ...shown, ...known, ...task }, where);
        counter.made(made.timing);
        return made;
      } catch (error) {
        throw errorInRow(part.archive, part.epoch, error);
      }
    };
    const labels = await ahead?.read((windowIds, ys) =>
      make({ sampleIds: windowIds, labelsOnly: true, into: { xs: new Float32Array(0), ys } }),
    );
    const made = await make({ sampleIds, ...(labels && { labels }), ...(into && { into }) });
    const { xs, ys } = into ?? made;
    return {
      ...{ epoch, index, tau },
      sampleIds,
      xs,
      xsShape: [sampleIds.length, ...this.#imageShape],
      ys,
      ysShape: [sampleIds.length, archive.classes],
      ...(this.#decodes ? {} : { codes: codesOf(parts[0], sampleIds, tau) }),
      release: onRelease,
    };
  }

  /** A batch of samples of several parts, each of which makes its own. */
  async #ofParts(
    parts: readonly EpochRows[],
    { sampleIds, labels, labelsOnly, into }: Wanted,
    makeOfPart: (rows: EpochRows, wanted: Wanted) => Promise<Pick<BatchArrays, 'xs' | 'ys'>>,
  ): Promise<Pick<BatchArrays, 'xs' | 'ys'>> {
    const { xs: images, ys: values } = this.lengths(sampleIds.length);
    const xs = into?.xs ?? new Float32Array(images);
    const ys = into?.ys ?? new Float32Array(values);
    if (labels !== undefined) ys.set(labels);
    if (labels !== undefined && xs.length === 0) return { xs, ys };
    const groups = samplesByPart(
      parts.map(({ part }) => part),
      sampleIds,
    );
    await Promise.all(
      groups.map(async ({ part, positions, own }) => {
        const rows = parts.find((one) => one.part === part);
        if (rows === undefined) return;
        const known = labels && new Float32Array(own.length * this.#classes);
        const task = { sampleIds: own, labelsOnly, ...(known && { labels: known }) };
        const made = await makeOfPart(rows, task);
        if (made.xs.length > 0) scatterRows(made.xs, positions, xs);
        if (labels === undefined) scatterRows(made.ys, positions, ys);
      }),
    );
    return { xs, ys };
  }

  get #classes(): number {
    return this.#parts.options.archive.classes;
  }

  /** Bytes of the arrays of a batch. */
  bytesOf(position: Position): number {
    const { xs, ys } = this.lengths(this.#parts.plan.sizeOf(position));
    return 4 * (xs + ys);
  }

  /** Elements of a batch's arrays. */
  lengths(samples: number): { readonly xs: number; readonly ys: number } {
    const [height, width, channels] = this.#imageShape;
    const classes = this.#classes;
    return {
      xs: samples * height * width * channels,
      ys: this.#decodes ? samples * classes : 0,
    };
  }

  /** Returns once no thread works for this loader any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.[Symbol.asyncDispose]();
  }

  get #decodes(): boolean {
    return this.#parts.options.labels !== 'codes';
  }

  #poolInUse(): BatchPool {
    const { options, setup } = this.#parts;
    const { workers = 1, pool } = options;
    this.#pool ??=
      workers === 0
        ? new LocalBatchPool(setup)
        : new ThreadBatchPool(setup, workers, pool as Piscina | undefined);
    return this.#pool;
  }
}

function codesOf({ part, codes: row }: EpochRows, labels: Uint32Array, tau: number): PackedCodes {
  return { row, labels, part: part.index, tau };
}
