import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { SoftpackError, throwIfAborted } from '../errors.js';
import { openArchive } from '../pipeline/open-archive.js';
import { once, orAbort } from './abort.js';
import type { BatchSetup } from './batch-maker.js';
import { BatchSource } from './batch-source.js';
import { DeviceLabels } from './device-labels.js';
import { openImagesOf, requireContentOf } from './images-of.js';
import { LabelsAhead } from './labels-ahead.js';
import { type LoaderMetrics, MetricsCounter } from './metrics.js';
import type { Batch, LoaderAddresses, LoaderOptions } from './options.js';
import { BatchPlan, type Position } from './plan.js';
import { batchStream } from './readable.js';
import { RowReader } from './rows.js';
import {
  defaultPrefetch,
  imageSetupOf,
  partsPerEpoch,
  predictionSetupOf,
  requireBatches,
  requireCodesOfOnePart,
  reuseSeed,
  sharedParts,
} from './setup.js';
import { noSlot, type Slot, SlotRing } from './slots.js';
import { type LoaderState, positionOf, stateOf, whole } from './state.js';
import { type TfDataset, type TfDatasetOptions, type TfLike, tfDatasetOf } from './tf-dataset.js';

const DEFAULT_MAX_BYTES = 2 ** 30;

/** A batch in progress, or finished and waiting. */
interface Pending {
  readonly position: Position;
  readonly bytes: number;
  readonly slot: Slot | undefined;
  readonly batch: Promise<Batch>;
  ready: boolean;
}

/**
 * Batches of images and soft labels in a deterministic order: a pure function of (archive, seed, epoch), the same
 * for any number of workers, any prefetch, and after a resume. Made by {@link createLoader}.
 *
 * One iteration at a time: a new one takes over where the last delivered batch left off, and ends the one before.
 */
export class LabelLoader implements AsyncIterable<Batch>, AsyncDisposable {
  readonly batchesPerEpoch: number;
  /** The epochs that it delivers: [from, to). */
  readonly epochs: { readonly from: number; readonly to: number };
  readonly #options: LoaderOptions;
  readonly #opened: AsyncDisposable | undefined;
  readonly #plan: BatchPlan;
  readonly #prefetch: number;
  readonly #setup: BatchSetup;
  readonly #rows: RowReader;
  readonly #slots: SlotRing | undefined;
  readonly #labelsAhead: LabelsAhead | undefined;
  readonly #maxBytes: number;
  readonly #counter = new MetricsCounter();
  readonly #source: BatchSource;
  #next: Position;
  /** Number of the current iteration; earlier ones end. */
  #run = 0;
  #queue: Pending[] = [];
  #closed = false;
  #deviceLabels: DeviceLabels | undefined;

  /** @param opened closed with the loader. */
  constructor(options: LoaderOptions, opened?: AsyncDisposable) {
    this.#opened = opened;
    const { archive, images } = options;
    const { samples, epochs, classes } = archive;
    const { from, to } = options.epochs ?? { from: 0, to: epochs };
    whole(to, 'epochs.to', 1, epochs);
    this.epochs = { from: whole(from, 'epochs.from', 0, to - 1), to };
    const workers = whole(options.workers ?? 1, 'workers', 0);
    this.#prefetch = whole(options.prefetch ?? defaultPrefetch(workers), 'prefetch', 1);
    this.#maxBytes = whole(options.maxBytes ?? DEFAULT_MAX_BYTES, 'maxBytes', 1);
    const worldSize = whole(options.worldSize ?? 1, 'worldSize', 1);
    this.#options = options;
    this.#plan = new BatchPlan({
      samples,
      batchSize: whole(options.batchSize, 'batchSize', 1),
      seed: whole(options.seed ?? 0, 'seed', 0),
      shuffle: options.shuffle ?? true,
      dropLast: options.dropLast ?? false,
      rank: whole(options.rank ?? 0, 'rank', 0, worldSize - 1),
      worldSize,
    });
    this.batchesPerEpoch = this.#plan.batchesPerEpoch;
    requireBatches(this.batchesPerEpoch, options, samples);
    if (!this.#decodes) requireCodesOfOnePart(archive);
    const reused = reuseSeed(options);
    const imageSetup = images && imageSetupOf(archive, images, options.normalisation);
    const views = this.#decodes ? archive.parts.map(predictionSetupOf) : undefined;
    this.#setup = {
      id: randomUUID(),
      classes,
      ...(this.#decodes && {
        codecs: archive.parts.map(({ codecParts }) => sharedParts(codecParts)),
      }),
      partsPerEpoch: partsPerEpoch(archive),
      decoding: { precision: options.precision, memoryCap: options.memoryCap },
      ...(imageSetup && { images: { ...imageSetup, ...reused } }),
      ...(views && { views }),
      firstRun: new Int32Array(new SharedArrayBuffer(4)),
    };
    this.#rows = new RowReader(
      archive,
      archive.parts.map((_, part) => {
        const own = imageSetup?.views[part] ?? views?.[part];
        return own?.columns.map(({ name }) => name) ?? [];
      }),
      this.#decodes,
    );
    this.#source = new BatchSource({
      ...{ options, plan: this.#plan, setup: this.#setup, rows: this.#rows },
      ...{ counter: this.#counter, lastEpoch: to },
    });
    if (options.buffers === 'slots') {
      this.#slots = new SlotRing(this.#prefetch + 1, this.#source.lengths(options.batchSize));
    }
    if (this.#decodes) {
      const shape = { batchSize: options.batchSize, classes, maxBytes: this.#maxBytes };
      this.#labelsAhead = LabelsAhead.create(this.#plan, shape);
    }
    this.#next =
      options.resume === undefined
        ? { epoch: from, start: 0 }
        : positionOf(options.resume, this.#identity(), { ...this.epochs, samples });
  }

  /** The position after the batches delivered so far: pass it as `resume` to a later loader. */
  state(): LoaderState {
    return stateOf(this.#identity(), this.#next);
  }

  metrics(): LoaderMetrics {
    return this.#counter.read({
      codesMs: this.#rows.readMs,
      queueDepth: this.#queue.filter(({ ready }) => ready).length,
      bufferedBytes: this.#bufferedBytes(),
    });
  }

  /** All batches from the present state to the last epoch. */
  [Symbol.asyncIterator](): AsyncGenerator<Batch, void, undefined> {
    return this.#iterate(this.epochs.to);
  }

  /** The batches left in the present epoch; empty once all epochs are delivered. */
  epoch(): AsyncGenerator<Batch, void, undefined> {
    return this.#iterate(Math.min(this.#next.epoch + 1, this.epochs.to));
  }

  /** Continues at the first batch of an epoch; a running iteration is not affected. */
  seek(epoch: number): void {
    const { from, to } = this.epochs;
    this.#next = { epoch: whole(epoch, 'epoch', from, to), start: 0 };
  }

  /** A data set for `model.fitDataset` and `evaluateDataset`; see {@link TfDatasetOptions}. */
  asTfDataset<Images, Labels>(
    tf: TfLike<Images, Labels>,
    options: TfDatasetOptions = {},
  ): TfDataset<Images, Labels> {
    if (!options.device) return tfDatasetOf(tf, this, options);
    const labels = this.#deviceLabelsOnce();
    return tfDatasetOf(tf, this, options, (codes) => labels.decode(codes));
  }

  /** All batches as an object stream. Reading starts with the first read of the stream; destroying it ends the iteration. */
  toReadable(): Readable {
    return batchStream(this);
  }

  /** Ends every iteration and returns when no thread works for this loader any more. */
  async close(): Promise<void> {
    this.#closed = true;
    Atomics.store(this.#setup.firstRun, 0, 2 ** 31 - 1);
    await this.#drain(this.#queue);
    this.#labelsAhead?.clear();
    this.#rows.clear();
    this.#deviceLabels?.[Symbol.dispose]();
    await this.#source[Symbol.asyncDispose]();
    await this.#opened?.[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #decodes(): boolean {
    return this.#options.labels !== 'codes';
  }

  #deviceLabelsOnce(): DeviceLabels {
    if (this.#decodes) {
      throw new SoftpackError('UNSUPPORTED', 'the loader decodes its labels itself', {
        field: 'device',
        expected: "a loader with labels: 'codes'",
        found: 'probabilities',
      });
    }
    const { archive, precision, memoryCap } = this.#options;
    this.#deviceLabels ??= new DeviceLabels(archive, { precision, memoryCap });
    return this.#deviceLabels;
  }

  #identity() {
    const { archive, seed = 0, shuffle = true } = this.#options;
    return { archiveId: archive.id, seed, shuffle };
  }

  async *#iterate(lastEpoch: number): AsyncGenerator<Batch, void, undefined> {
    const run = ++this.#run;
    const queue = await this.#takeOver(run);
    let position = this.#plan.from(this.#next, lastEpoch);
    try {
      await orAbort(this.#requireContent(), this.#options.signal);
      for (;;) {
        this.#requireRunning(run);
        position = this.#fill(queue, position, run, lastEpoch);
        const [first] = queue;
        if (first === undefined) {
          if (position !== undefined) throw noSlot();
          return;
        }
        this.#counter.asked();
        const asked = performance.now();
        const batch = await orAbort(first.batch, this.#options.signal);
        this.#requireRunning(run);
        queue.shift();
        this.#deliver(first, batch, performance.now() - asked);
        yield batch;
      }
    } finally {
      // Batches under way end before the iteration does, so that it leaves nothing behind.
      if (this.#run === run) Atomics.store(this.#setup.firstRun, 0, run + 1);
      await this.#drain(queue);
      if (this.#run === run) this.#labelsAhead?.clear();
    }
  }

  /** Called before the first batch: other pixels under the same names would be trained on silently. */
  async #requireContent(): Promise<void> {
    const { archive, images } = this.#options;
    if (images !== undefined) await requireContentOf(archive, images);
  }

  /** Ends the previous iteration and discards the batches it made ahead. */
  async #takeOver(run: number): Promise<Pending[]> {
    const before = this.#queue;
    const queue: Pending[] = [];
    this.#queue = queue;
    if (!this.#closed) Atomics.store(this.#setup.firstRun, 0, run);
    await this.#drain(before);
    this.#labelsAhead?.clear();
    return queue;
  }

  async #drain(queue: Pending[]): Promise<void> {
    await Promise.allSettled(queue.map(({ batch }) => batch));
    for (const { slot } of queue.splice(0)) if (slot !== undefined) this.#slots?.give(slot);
  }

  #requireRunning(run: number): void {
    throwIfAborted(this.#options.signal);
    if (this.#closed) throw new SoftpackError('ABORTED', 'the loader was closed');
    if (run === this.#run) return;
    throw new SoftpackError('ABORTED', 'another iteration of this loader was started');
  }

  /** Starts batches, as many ahead as options and slots allow; returns the next position. */
  #fill(
    queue: Pending[],
    from: Position | undefined,
    run: number,
    lastEpoch: number,
  ): Position | undefined {
    let position = from;
    while (position !== undefined && queue.length < this.#prefetch) {
      const bytes = this.#source.bytesOf(position);
      const more = bytes + (this.#labelsAhead?.bytesToTake(position) ?? 0);
      if (queue.length > 0 && this.#bufferedBytes() + more > this.#maxBytes) break;
      if (this.#slots?.available === false) break;
      const slot = this.#slots?.take();
      const labels = this.#labelsAhead?.take(position);
      const onRelease = once(() => slot && this.#slots?.give(slot));
      const made = this.#source.make(position, { run, slot, ahead: labels, onRelease });
      const batch = made.finally(labels?.release);
      const pending: Pending = { position, bytes, slot, batch, ready: false };
      batch.then(
        () => {
          pending.ready = true;
        },
        () => undefined, // Reported when its turn comes.
      );
      queue.push(pending);
      position = this.#plan.after(position, lastEpoch);
    }
    return position;
  }

  #deliver({ position, bytes }: Pending, batch: Batch, waitMs: number): void {
    const { onProgress } = this.#options;
    const { epoch, index } = batch;
    const end = this.#plan.after(position, Number.POSITIVE_INFINITY);
    this.#next = end ?? position;
    this.#counter.delivered(batch.sampleIds.length, bytes, waitMs);
    if (onProgress === undefined) return;
    const { samplesPerSecond } = this.#counter;
    const [done, batches] = [index + 1, this.batchesPerEpoch];
    onProgress({ epoch, done, batches, samplesPerSecond, metrics: this.metrics() });
  }

  #bufferedBytes(): number {
    const batches = this.#queue.reduce((sum, { bytes }) => sum + bytes, 0);
    return batches + (this.#labelsAhead?.bytes ?? 0);
  }
}

/**
 * Batches of images and soft labels from an archive. See {@link LabelLoader}. An archive given by its path or address is
 * opened first, read block by block as epochs need it, and closed with the loader.
 */
export function createLoader(options: LoaderAddresses): Promise<LabelLoader>;
export function createLoader(options: LoaderOptions): LabelLoader;
export function createLoader(
  options: LoaderOptions | LoaderAddresses,
): LabelLoader | Promise<LabelLoader> {
  return isOpen(options) ? loaderOf(options) : openLoader(options);
}

function isOpen(options: LoaderOptions | LoaderAddresses): options is LoaderOptions {
  return typeof options.archive === 'object' && 'manifest' in options.archive;
}

async function openLoader(options: LoaderAddresses): Promise<LabelLoader> {
  const archive = await openArchive(options.archive);
  try {
    const { images: from, ...rest } = options;
    const images = isPath(from) ? await openImagesOf(archive, from) : from;
    return loaderOf({ ...rest, archive, ...(images && { images }) }, archive);
  } catch (error) {
    await archive.close();
    throw error;
  }
}

function isPath(images: LoaderAddresses['images']): images is string | readonly string[] {
  return typeof images === 'string' || Array.isArray(images);
}

function loaderOf(options: LoaderOptions, opened?: AsyncDisposable): LabelLoader {
  if (options.archive.manifest.pruning !== undefined) {
    throw new SoftpackError('UNSUPPORTED', 'a pruned archive has batches of its own', {
      field: 'archive',
      expected: 'prunedBatches, which draws them',
    });
  }
  return new LabelLoader(options, opened);
}
