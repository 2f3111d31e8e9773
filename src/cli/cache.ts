import { type Command, InvalidArgumentError, Option } from 'commander';
import { CODECS } from '../codecs/registry.js';
import { formatBytes } from '../core/format.js';
import type { CacheLabelsResult, CacheProgress } from '../pipeline/cache-options.js';
import { addCacheSteps } from './cache-steps.js';
import { addCodecOptions } from './codec-options.js';
import { type CliIo, print } from './io.js';
import {
  addSourceOptions,
  addViewOptions,
  type LabelFlags,
  labelOptionsOf,
  requireOptions,
} from './label-flags.js';
import { positiveInteger } from './options.js';
import { packProgress } from './pack.js';
import { reportSkipped } from './pack-images.js';
import { pilotLines, reuseLines } from './planned.js';
import { phaseProgress } from './progress.js';
import { timesSmaller, warnOfGrowth } from './ratio-words.js';

interface CacheFlags extends LabelFlags {
  readonly out: string;
  readonly full?: string;
  readonly passes?: 1 | 2;
  readonly workers?: number;
  readonly json?: boolean;
}

export function addCache(program: Command, io: CliIo): void {
  const command = program
    .command('cache')
    .description("Store a teacher's soft labels of every augmented view of a folder of images.")
    // Options of the commands below are their own.
    .enablePositionalOptions();
  addSourceOptions(command).option(OUT, 'archive to write; an interrupted run is resumed');
  addCodecOptions(command)
    .option(
      '--full <dir>',
      'keep the uncompressed labels here; default: none, or in <out>.softpack-tmp meanwhile',
    )
    .addOption(
      new Option(
        '--passes <n>',
        'with a codec: 1 encodes labels as they come, 2 keeps them uncompressed on disk meanwhile; default: 1 beyond 1 GiB',
      ).argParser(oneOrTwo),
    );
  addViewOptions(command)
    .option(
      '-w, --workers <n>',
      'number of teacher workers (default: one per CPU)',
      positiveInteger,
    )
    .option('--json', 'print the result as JSON')
    .action(async (flags: CacheFlags) => {
      requireOptions(command);
      requireOptions(command, { out: OUT });
      const { out, full, passes, workers } = flags;
      const options = { ...(await labelOptionsOf(flags, command)), out, full, passes, workers };
      // Loading TensorFlow.js takes a second that other commands need not spend.
      const { cacheLabels } = await import('../pipeline/cache-labels.js');
      const result = await cacheLabels({
        ...options,
        acceptFinished: true,
        onProgress: cacheProgress(io),
        signal: io.signal,
      });
      reportSkipped(io, result.skipped);
      if (result.packed !== undefined) warnOfGrowth(io, result.packed);
      print(io, flags.json ? JSON.stringify(result) : describe(result, flags));
    });
  addCacheSteps(command, io);
}

const OUT = '-o, --out <dir>';

function oneOrTwo(text: string): 1 | 2 {
  if (text === '1') return 1;
  if (text === '2') return 2;
  throw new InvalidArgumentError('Must be 1 or 2.');
}

function cacheProgress(io: CliIo): (progress: CacheProgress) => void {
  const show = phaseProgress({ label: "the teacher's labels" }, io.stderr);
  const onPack = packProgress(io);
  return (progress) => {
    if (progress.phase === 'label') show('label', progress.done, progress.total);
    else onPack(progress);
  };
}

function describe(result: CacheLabelsResult, { out }: CacheFlags): string {
  const { labels, epochs, images, classes, bytes, agreement, packed, weighed } = result;
  const full = 2 * labels * classes;
  const lines = [
    `${labels} labels (${epochs} epochs x ${images} images) of ${classes} classes in ${out}`,
    `${formatBytes(bytes.total)} on disk, ${timesSmaller(full / bytes.total)}`,
  ];
  if (packed !== undefined) {
    const { codec, divergence } = packed;
    lines.push(`${CODECS.words(codec)}: KL ${divergence.kl.toExponential(2)} nats`);
    lines.push(...reuseLines({ ...packed, weighed }), ...pilotLines(packed.pilot));
  } else {
    lines.push(`compress them with: softpack pack ${out} --ratio 40 --out <dir>`);
  }
  if (agreement !== undefined) {
    const percent = `${(100 * agreement).toFixed(1)} %`;
    lines.push(
      `the teacher agrees with the folder's class in ${percent} of the views that mostly show it`,
    );
  }
  return lines.join('\n');
}
