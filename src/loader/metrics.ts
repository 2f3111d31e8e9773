import type { BatchTiming } from './batch-maker.js';

/** Totals of a loader so far. Times are milliseconds; those of threads are summed over all threads. */
export interface LoaderMetrics {
  /** Delivered. */
  readonly batches: number;
  readonly samples: number;
  /** Bytes of delivered images and labels. */
  readonly bytes: number;
  /** Threads: images, that is reading and decoding them and rendering views. */
  readonly imageMs: number;
  /** Threads: the part of `imageMs` that rendered views. */
  readonly augmentMs: number;
  /** Threads: decoding labels. */
  readonly labelMs: number;
  /** Reading codes, mostly ahead of their epoch. */
  readonly codesMs: number;
  /** Time that the consumer waited for batches; 0 if the loader is fast enough. */
  readonly waitMs: number;
  /** Batches made and waiting for the consumer now. */
  readonly queueDepth: number;
  /** Bytes of batches made or being made and not yet delivered, and of labels decoded ahead. */
  readonly bufferedBytes: number;
}

/** Sums of the totals; values of the moment are passed to `read`. */
export class MetricsCounter {
  #batches = 0;
  #samples = 0;
  #bytes = 0;
  #readMs = 0;
  #augmentMs = 0;
  #labelMs = 0;
  #waitMs = 0;
  #started: number | undefined;

  made({ readMs, augmentMs, labelMs }: BatchTiming): void {
    this.#readMs += readMs;
    this.#augmentMs += augmentMs;
    this.#labelMs += labelMs;
  }

  asked(): void {
    this.#started ??= performance.now();
  }

  delivered(samples: number, bytes: number, waitMs: number): void {
    this.#batches++;
    this.#samples += samples;
    this.#bytes += bytes;
    this.#waitMs += waitMs;
  }

  get samplesPerSecond(): number {
    const elapsed = performance.now() - (this.#started ?? performance.now());
    return elapsed > 0 ? (1000 * this.#samples) / elapsed : 0;
  }

  read(now: Pick<LoaderMetrics, 'codesMs' | 'queueDepth' | 'bufferedBytes'>): LoaderMetrics {
    return {
      batches: this.#batches,
      samples: this.#samples,
      bytes: this.#bytes,
      imageMs: this.#readMs + this.#augmentMs,
      augmentMs: this.#augmentMs,
      labelMs: this.#labelMs,
      waitMs: this.#waitMs,
      ...now,
    };
  }
}
