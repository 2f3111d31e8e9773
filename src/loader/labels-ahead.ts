import type { BatchPlan, Position } from './plan.js';

/**
 * Samples whose labels are decoded at once: the decoder's tables are read from memory once for all of them. Between
 * two batches their images evict the tables from the processor's caches.
 */
const LABELS_AHEAD = 1024;
const MAX_WINDOW_BYTES = 2 ** 23;
/** Share of all bytes that a loader may buffer. */
const WINDOW_SHARE = 1 / 16;

/** Consecutive batches of one epoch, whose labels are decoded together. */
interface Window {
  readonly epoch: number;
  readonly sampleIds: Uint32Array;
  /** First sample among `sampleIds` by start of the batch's position. */
  readonly firsts: ReadonlyMap<number, number>;
  /** [samples, classes], shared. */
  readonly labels: Float32Array<SharedArrayBuffer>;
  /** Batches that may still read `labels`. */
  readers: number;
  decoded: Promise<boolean> | undefined;
}

/** Decodes labels of `sampleIds` into `into`, [samples, classes]. */
export type DecodeAhead = (sampleIds: Uint32Array, into: Float32Array) => Promise<unknown>;

/** The labels of one batch, decoded with those of the batches after it. */
export interface LabelsOfBatch {
  /** [batch, classes], shared; undefined if decoding failed: the batch then decodes its own labels and reports why. */
  read(decode: DecodeAhead): Promise<Float32Array | undefined>;
  /** To be called when the batch no longer needs them. */
  release(): void;
}

/** Decodes the labels of several batches at once, into reused buffers. */
export class LabelsAhead {
  readonly #plan: BatchPlan;
  readonly #classes: number;
  /** Batches per window, at least 2. */
  readonly #batches: number;
  readonly #length: number;
  readonly #windows = new Set<Window>();
  readonly #free: SharedArrayBuffer[] = [];
  #open: Window | undefined;
  /** True until the iteration takes its first batch. */
  #fresh = true;

  private constructor(plan: BatchPlan, classes: number, batches: number, batchSize: number) {
    this.#plan = plan;
    this.#classes = classes;
    this.#batches = batches;
    this.#length = batches * batchSize * classes;
  }

  /** Undefined if a window has no room for two batches: decoding ahead would gain nothing. */
  static create(
    plan: BatchPlan,
    shape: { readonly batchSize: number; readonly classes: number; readonly maxBytes: number },
  ): LabelsAhead | undefined {
    const { batchSize, classes, maxBytes } = shape;
    const bytes = Math.min(MAX_WINDOW_BYTES, maxBytes * WINDOW_SHARE);
    const labels = Math.min(LABELS_AHEAD, bytes / (4 * classes));
    const batches = Math.min(plan.batchesPerEpoch, Math.floor(labels / batchSize));
    return batches < 2 ? undefined : new LabelsAhead(plan, classes, batches, batchSize);
  }

  /** Bytes of the windows in use. */
  get bytes(): number {
    return 4 * this.#length * this.#windows.size;
  }

  /** Bytes that `take` would add to `bytes`. */
  bytesToTake(position: Position): number {
    return this.#fresh || this.#covers(position) ? 0 : 4 * this.#length;
  }

  /**
   * The batch's part of its window, which this call may open; batches are taken in order. Undefined for the first batch
   * of an iteration: the consumer waits for it, so it decodes only its own labels.
   */
  take(position: Position): LabelsOfBatch | undefined {
    if (this.#fresh) {
      this.#fresh = false;
      return undefined;
    }
    const window = this.#covers(position) ?? this.#begin(position);
    const first = window.firsts.get(position.start) as number;
    const from = first * this.#classes;
    const to = from + this.#plan.sizeOf(position) * this.#classes;
    return {
      read: async (decode) => {
        window.decoded ??= decode(window.sampleIds, window.labels).then(
          () => true,
          () => false,
        );
        return (await window.decoded) ? window.labels.subarray(from, to) : undefined;
      },
      release: () => {
        if (--window.readers === 0) this.#end(window);
      },
    };
  }

  /** Ends an iteration. Its batches may still be in progress: buffers that they have not released are not reused. */
  clear(): void {
    this.#fresh = true;
    this.#open = undefined;
    this.#windows.clear();
  }

  #covers({ epoch, start }: Position): Window | undefined {
    const open = this.#open;
    return open?.epoch === epoch && open.firsts.has(start) ? open : undefined;
  }

  #begin(from: Position): Window {
    const { epoch } = from;
    const firsts = new Map<number, number>();
    const parts: Uint32Array[] = [];
    let count = 0;
    let position: Position | undefined = from;
    while (position !== undefined && parts.length < this.#batches) {
      const sampleIds = this.#plan.samplesOf(position);
      firsts.set(position.start, count);
      parts.push(sampleIds);
      count += sampleIds.length;
      position = this.#plan.after(position, epoch + 1);
    }
    const sampleIds = new Uint32Array(count);
    let at = 0;
    for (const part of parts) {
      sampleIds.set(part, at);
      at += part.length;
    }
    const buffer = this.#free.pop() ?? new SharedArrayBuffer(4 * this.#length);
    const labels = new Float32Array(buffer, 0, count * this.#classes);
    const readers = parts.length;
    const window: Window = { epoch, sampleIds, firsts, labels, readers, decoded: undefined };
    this.#windows.add(window);
    this.#open = window;
    return window;
  }

  #end(window: Window): void {
    if (!this.#windows.delete(window)) return;
    this.#free.push(window.labels.buffer);
    if (this.#open === window) this.#open = undefined;
  }
}
