import type { LabelArchive } from '../archive/archive.js';
import { throwIfAborted } from '../errors.js';
import { createLoader } from './loader.js';
import type { LoaderMetrics } from './metrics.js';
import type { LoaderOptions } from './options.js';

export interface BenchLoaderOptions
  extends Pick<
    LoaderOptions,
    'images' | 'normalisation' | 'batchSize' | 'buffers' | 'precision' | 'seed' | 'signal'
  > {
  readonly archive: LabelArchive;
  /** Numbers of workers to try. */
  readonly workers: readonly number[];
  /** Seconds to measure each, after its threads have started. */
  readonly seconds: number;
  /** Milliseconds that a training step takes; 0 (default) takes batches as fast as they come. */
  readonly stepMs?: number;
  readonly onRun?: (run: LoaderRun) => void;
}

/** Result for one number of workers. */
export interface LoaderRun {
  readonly workers: number;
  readonly samples: number;
  readonly samplesPerSecond: number;
  /** By processor time of all threads, so that other load on the machine does not matter. */
  readonly samplesPerCpuSecond: number;
  readonly megabytesPerSecond: number;
  /** Milliseconds per batch: of threads for images and labels, of the consumer for waiting. */
  readonly perBatch: {
    readonly read: number;
    readonly augment: number;
    readonly label: number;
    readonly wait: number;
  };
  /** Share of the threads' time spent decoding labels. */
  readonly labelShare: number;
  /** Share of the wall-clock time that the consumer waited. */
  readonly waitShare: number;
  readonly bound: Bound;
}

/** The bottleneck: improving it makes a run faster. */
export type Bound =
  | 'training'
  | 'reading images'
  | 'rendering views'
  | 'decoding labels'
  | 'handing over';

/** Runs the loader with different numbers of workers and says what bounds each. */
export async function benchLoader(options: BenchLoaderOptions): Promise<readonly LoaderRun[]> {
  const runs: LoaderRun[] = [];
  for (const workers of options.workers) {
    throwIfAborted(options.signal);
    const run = await benchOne(options, workers);
    options.onRun?.(run);
    runs.push(run);
  }
  return runs;
}

async function benchOne(options: BenchLoaderOptions, workers: number): Promise<LoaderRun> {
  const { archive, images, normalisation, batchSize, buffers, precision, seed, signal } = options;
  const { seconds, stepMs = 0 } = options;
  await using loader = createLoader({
    ...{ archive, images, normalisation, batchSize, buffers, precision, seed, signal, workers },
  });
  let before: LoaderMetrics | undefined;
  let start = performance.now();
  let cpu = process.cpuUsage();
  const limit = 1000 * seconds;
  for (;;) {
    if (loader.state().epoch >= archive.epochs) loader.seek(0);
    for await (const batch of loader.epoch()) {
      batch.release();
      await stepOf(stepMs);
      const now = performance.now();
      // Each thread's first batch pays for its start.
      if (before === undefined && loader.metrics().batches >= 2 * workers + 1) {
        before = loader.metrics();
        start = now;
        cpu = process.cpuUsage();
      }
      if (before !== undefined && now - start >= limit) {
        const { user, system } = process.cpuUsage(cpu);
        const times = { elapsedMs: now - start, cpuMs: (user + system) / 1000 };
        return runOf(workers, before, loader.metrics(), times);
      }
    }
  }
}

/** Keeps this thread busy, as a training step does. */
async function stepOf(milliseconds: number): Promise<void> {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
  // Replies of threads are handled between steps.
  await new Promise(setImmediate);
}

function runOf(
  workers: number,
  before: LoaderMetrics,
  after: LoaderMetrics,
  { elapsedMs, cpuMs }: { readonly elapsedMs: number; readonly cpuMs: number },
): LoaderRun {
  const of = (key: keyof LoaderMetrics) => after[key] - before[key];
  const batches = Math.max(1, of('batches'));
  const [image, augment, label, wait] = (
    ['imageMs', 'augmentMs', 'labelMs', 'waitMs'] as const
  ).map(of);
  const read = image - augment;
  const samples = of('samples');
  const waitShare = wait / elapsedMs;
  return {
    workers,
    samples,
    samplesPerSecond: (1000 * samples) / elapsedMs,
    samplesPerCpuSecond: (1000 * samples) / cpuMs,
    megabytesPerSecond: of('bytes') / 1000 / elapsedMs,
    perBatch: {
      read: read / batches,
      augment: augment / batches,
      label: label / batches,
      wait: wait / batches,
    },
    labelShare: label / Math.max(image + label, Number.MIN_VALUE),
    waitShare,
    bound: boundOf({ workers, waitShare, read, augment, label, elapsedMs }),
  };
}

/** Share of waiting below which the consumer is the bottleneck. */
const LITTLE_WAITING = 0.05;

/** Bottleneck by the times of all threads and of the consumer over `elapsedMs` of wall-clock time. */
export function boundOf(run: {
  readonly workers: number;
  readonly waitShare: number;
  readonly read: number;
  readonly augment: number;
  readonly label: number;
  readonly elapsedMs: number;
}): Bound {
  const { workers, waitShare, read, augment, label, elapsedMs } = run;
  if (waitShare < LITTLE_WAITING) return 'training';
  const busy = (read + augment + label) / (elapsedMs * Math.max(1, workers));
  // Threads idle while the consumer waits: batches are in transit between them.
  if (busy < 0.5) return 'handing over';
  const most = Math.max(read, augment, label);
  if (most === read) return 'reading images';
  return most === augment ? 'rendering views' : 'decoding labels';
}
