import { availableParallelism } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Precision } from '../kernels/types.js';
import type { Bound, LoaderRun } from '../loader/bench.js';
import { benchLoader } from '../loader/bench.js';
import { openImagesOf } from '../loader/images-of.js';
import { openArchive } from '../pipeline/open-archive.js';
import { type CliIo, print } from './io.js';
import { nonNegativeInteger, positiveInteger, positiveNumber } from './options.js';

interface LoaderBenchFlags {
  readonly images?: string;
  readonly split?: string;
  readonly batch: number;
  readonly workers: readonly number[];
  readonly seconds: number;
  readonly step: number;
  readonly precision: Precision;
  readonly json?: boolean;
}

/** Pixels to [-1, 1]; the speed does not depend on the normalisation. */
const NORMALISATION = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const;

export function addLoaderBench(program: Command, io: CliIo): void {
  program
    .command('loader-bench')
    .description('Measure how fast batches come from an archive and what limits them.')
    .argument('<dir>', 'archive, or its address')
    .option(
      '-i, --images <path>',
      'its images: folder, list of files, or packed images; without: labels only',
    )
    .option('--split <name>', 'dataset split of the folder, e.g. train')
    .option('-b, --batch <n>', 'samples per batch', positiveInteger, 64)
    .addOption(
      new Option('-w, --workers <list>', 'numbers of worker threads to try')
        .argParser(workerList)
        .default(defaultWorkers(), defaultWorkers().join(',')),
    )
    .option('--seconds <s>', 'duration of each measurement', positiveNumber, 5)
    .option('--step <ms>', 'duration of a training step', nonNegativeInteger, 0)
    .addOption(
      new Option('-p, --precision <name>', 'precision of decoded labels, traded for speed')
        .choices(['exact', 'fast', 'fastest'])
        .default('exact'),
    )
    .option('--json', 'print the runs as JSON')
    .action(async (dir: string, flags: LoaderBenchFlags) => {
      await using archive = await openArchive(dir);
      const { split, batch, workers, seconds, step, precision, json } = flags;
      const images =
        flags.images === undefined
          ? undefined
          : await openImagesOf(archive, flags.images, { split });
      const say = (line: string) => json || print(io, line);
      say(HEADER);
      const runs = await benchLoader({
        ...{
          archive,
          images,
          normalisation: NORMALISATION,
          batchSize: batch,
          seconds,
          signal: io.signal,
        },
        precision,
        ...{ workers, stepMs: step, onRun: (run: LoaderRun) => say(lineOf(run)) },
      });
      print(io, json ? JSON.stringify({ batch, step, runs }) : adviceOn(runs));
    });
}

const HEADER =
  'workers   samples/s   MB/s   a batch, ms: read  augment  labels   wait   labels   waiting   bound by';

function lineOf({
  workers,
  samplesPerSecond,
  megabytesPerSecond,
  perBatch,
  ...run
}: LoaderRun): string {
  const ms = (value: number, width: number) => value.toFixed(value < 10 ? 2 : 1).padStart(width);
  const percent = (share: number, width: number) => `${(100 * share).toFixed(1)} %`.padStart(width);
  return [
    String(workers).padStart(7),
    samplesPerSecond.toFixed(0).padStart(12),
    megabytesPerSecond.toFixed(0).padStart(7),
    ms(perBatch.read, 20),
    ms(perBatch.augment, 9),
    ms(perBatch.label, 8),
    ms(perBatch.wait, 7),
    percent(run.labelShare, 9),
    percent(run.waitShare, 10),
    `   ${run.bound}`,
  ].join('');
}

const ADVICE: Readonly<Record<Bound, string>> = {
  training: 'Batches come as fast as they are used: more workers would not help.',
  'reading images':
    'Reading images takes most of the time. `softpack pack-images` (raw) avoids decoding; more workers help if there are ' +
    'idle cores; with more than 4 workers set UV_THREADPOOL_SIZE to their number: images are decoded on these threads.',
  'rendering views':
    'Crops and flips take most of the time: more workers help if there are idle cores.',
  'decoding labels':
    'Decoding labels takes most of the time: more workers help if there are idle cores.',
  'handing over':
    'Workers wait for work while training waits for batches: larger batches or a longer prefetch help.',
};

function adviceOn(runs: readonly LoaderRun[]): string {
  const best = runs.reduce((a, b) => (b.samplesPerSecond > a.samplesPerSecond ? b : a));
  return `Fastest with ${best.workers} workers. ${ADVICE[best.bound]}`;
}

function defaultWorkers(): readonly number[] {
  const most = availableParallelism();
  return [0, 1, 2, 4, 8, 16].filter((workers) => workers <= Math.max(2, most));
}

function workerList(text: string): readonly number[] {
  return text.split(',').map((part) => {
    const workers = Number(part);
    if (/^\d+$/.test(part.trim()) && workers <= 256) return workers;
    throw new InvalidArgumentError('Must be a list of numbers like 0,1,2.');
  });
}
