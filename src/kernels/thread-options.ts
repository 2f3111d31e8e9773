export interface ThreadOptions {
  /** Threads to use, the caller's included, at most 256. 0 (default): all processors. 1: the caller alone. */
  readonly threads?: number;
}
