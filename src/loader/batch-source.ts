import { errorInRow } from '../archive/read-labels.js';
import type { BatchSetup, BatchTask } from './batch-maker.js';
import { type BatchPool, LocalBatchPool, ThreadBatchPool } from './batch-pool.js';
import type { LabelsOfBatch } from './labels-ahead.js';
import type { MetricsCounter } from './metrics.js';
import type { Batch, LoaderOptions } from './options.js';
import type { BatchPlan, Position } from './plan.js';
import type { RowReader } from './rows.js';
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
    const { index: part } = archive.partOf(epoch);
    const sampleIds = plan.samplesOf(position);
    const { codes: row, columns: recorded } = await rows.read(epoch, lastEpoch);
    const lengths = this.lengths(sampleIds.length);
    const into = slot && {
      xs: slot.xs.subarray(0, lengths.xs),
      ys: slot.ys.subarray(0, lengths.ys),
    };
    const where = `batch ${index} of epoch ${epoch}`;
    const make = async (task: Pick<BatchTask, 'sampleIds' | 'labels' | 'labelsOnly' | 'into'>) => {
      try {
        // Views are those of the labels' own epoch.
        const of = { run, part, epoch: archive.storedEpoch(epoch), tau, row, recorded };
        const made = await this.#poolInUse().make({ ...of, ...task }, where);
        counter.made(made.timing);
        return made;
      } catch (error) {
        throw errorInRow(archive, epoch, error);
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
      ...(this.#decodes ? {} : { codes: { row, labels: sampleIds, part, tau } }),
      release: onRelease,
    };
  }

  /** Bytes of the arrays of a batch. */
  bytesOf(position: Position): number {
    const { xs, ys } = this.lengths(this.#parts.plan.sizeOf(position));
    return 4 * (xs + ys);
  }

  /** Elements of a batch's arrays. */
  lengths(samples: number): { readonly xs: number; readonly ys: number } {
    const [height, width, channels] = this.#imageShape;
    const { classes } = this.#parts.options.archive;
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
      workers === 0 ? new LocalBatchPool(setup) : new ThreadBatchPool(setup, workers, pool);
    return this.#pool;
  }
}
