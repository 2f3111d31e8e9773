import type { Command } from 'commander';
import { CODECS } from '../codecs/registry.js';
import { formatBytes } from '../core/format.js';
import { SoftpackError } from '../errors.js';
import { type PackResult, packLogits } from '../pipeline/pack.js';
import type { PackOptions, PackProgress } from '../pipeline/pack-options.js';
import { addCodecOptions, type CodecFlags, codecOf, keepOf } from './codec-options.js';
import { addFilterOptions, type FilterFlags, filterOf } from './filter-options.js';
import { type CliIo, print } from './io.js';
import { addLogitsOptions, type LogitsFlags, labelsOf } from './logits-options.js';
import {
  nonNegativeInteger,
  positiveInteger,
  positiveNumber,
  tauScheduleOption,
} from './options.js';
import { pilotLines, reuseLines } from './planned.js';
import { phaseProgress } from './progress.js';
import { ratioWords, warnOfGrowth } from './ratio-words.js';

interface PackFlags extends CodecFlags, FilterFlags, LogitsFlags {
  readonly images?: string;
  readonly out: string;
  readonly tau?: number;
  readonly tauSchedule?: 'lpqld' | readonly number[];
  readonly prune?: number;
  readonly batch: number;
  readonly keep?: number;
  readonly steps: number;
  readonly seed: number;
  readonly json?: boolean;
}

export function addPack(program: Command, io: CliIo): void {
  const command = program
    .command('pack')
    .description('Compress teacher logits, or the labels of another archive, into an archive.')
    .argument(
      '<logits>',
      '.npy, .npz or .safetensors: floats [epochs, samples, classes]; or an archive',
    )
    .requiredOption('-o, --out <dir>', 'archive to write; an interrupted run is resumed');
  addCodecOptions(command);
  addFilterOptions(command, 'with --images').option(
    '-i, --images <path>',
    'images of the labels, one folder per class, with --filter',
  );
  addLogitsOptions(command)
    .option('--prune <n>', 'keep only the first 1/n of all batches (LPLD)', positiveNumber)
    .option('-b, --batch <n>', 'labels per batch, with --prune', positiveInteger, 64)
    .option('--keep <n>', 'store the first n epochs, which serve for all in turn', positiveInteger)
    .option(
      '-t, --tau <t>',
      "temperature of the labels softmax(logits / tau); default: 20, or an archive's own",
      positiveNumber,
    )
    .addOption(tauScheduleOption())
    .option('--steps <n>', 'training steps of the codec', positiveInteger, 1000)
    .option('--seed <n>', 'seed of the training', nonNegativeInteger, 0)
    .option('--json', 'print the result as JSON')
    .action(async (logits: string, flags: PackFlags) => {
      const result = await packLogits({
        source: logits,
        tensor: flags.tensor,
        labels: labelsOf(flags),
        out: flags.out,
        codec: codecOf(flags),
        ...(flags.prune === undefined
          ? {}
          : { prune: { ratio: flags.prune, batchSize: flags.batch } }),
        keep: keepOf(flags),
        filter: filterWithImages(flags),
        tau: flags.tau,
        tauSchedule: flags.tauSchedule,
        training: { steps: flags.steps, seed: flags.seed },
        acceptFinished: true,
        onProgress: packProgress(io),
        signal: io.signal,
      });
      const text = flags.json ? JSON.stringify(jsonOf(result)) : describe(result, flags.out);
      warnOfGrowth(io, result);
      print(io, text);
    });
}

/** Labels do not say of which class their image is. */
function filterWithImages({ images, ...flags }: PackFlags): PackOptions['filter'] {
  const filter = filterOf(flags);
  if (filter === undefined) return undefined;
  if (images !== undefined) return { ...filter, targets: images };
  throw new SoftpackError('INVALID_ARGUMENT', 'the filter needs the class of every image', {
    field: '--images',
    expected: 'images of the labels, one folder per class',
  });
}

/** One progress bar per phase of packing. */
export function packProgress(io: CliIo): (progress: PackProgress) => void {
  const names = { read: 'reading labels', train: 'training the codec', encode: 'writing codes' };
  const show = phaseProgress(names, io.stderr);
  return ({ phase, done, total, error }) => {
    const note = error === undefined ? '' : `error ${(100 * error).toFixed(1)} % of variance`;
    show(phase, done, total, note);
  };
}

function jsonOf({ training, ...result }: PackResult) {
  return { ...result, stepsPerSecond: training?.stepsPerSecond };
}

function describe(result: PackResult, out: string) {
  const { codec, labels, classes, bytes, ratio, divergence } = result;
  const size = (name: string, value: number) => `  ${name.padEnd(12)}${formatBytes(value)}`;
  return [
    `${labels} labels of ${classes} classes in ${out}, ${CODECS.words(codec)}`,
    size('codes', bytes.codes),
    size('codec', bytes.codec),
    size('metadata', bytes.metadata),
    size('container', bytes.container),
    size('total', bytes.total),
    `ratio to float16: ${ratioWords(ratio)}`,
    `decoded labels: KL ${divergence.kl.toExponential(2)} nats, ` +
      `same top class in ${(100 * divergence.top1).toFixed(1)} %`,
    ...reuseLines(result),
    ...pilotLines(result.pilot),
  ].join('\n');
}
