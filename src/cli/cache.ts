import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Rendering } from '../augment/replay.js';
import { CODECS } from '../codecs/registry.js';
import { formatBytes } from '../core/format.js';
import type {
  CacheLabelsOptions,
  CacheLabelsResult,
  CacheProgress,
} from '../pipeline/cache-options.js';
import { addCodecOptions, type CodecFlags, codecOf, givesSize, keepOf } from './codec-options.js';
import { addFilterOptions, type FilterFlags, filterOf } from './filter-options.js';
import { type CliIo, print } from './io.js';
import {
  nonNegativeInteger,
  positiveInteger,
  positiveNumber,
  resampleOption,
  roundOption,
  shareOf,
  tauScheduleOption,
} from './options.js';
import { packProgress } from './pack.js';
import { type FitFlags, fitOf, reportSkipped } from './pack-images.js';
import { pilotLines, reuseLines } from './planned.js';
import { phaseProgress } from './progress.js';
import { addTeacherOptions, descriptionOf, type TeacherFlags } from './teacher-options.js';

interface CacheFlags extends CodecFlags, FilterFlags, FitFlags, TeacherFlags {
  readonly teacher: string;
  readonly images: string;
  readonly epochs: number;
  readonly keep?: number;
  readonly out: string;
  readonly full?: string;
  readonly passes?: 1 | 2;
  readonly tau?: number;
  readonly tauSchedule?: 'lpqld' | readonly number[];
  readonly steps: number;
  readonly seed: number;
  readonly split?: string;
  readonly minCrop: number;
  readonly flip: number;
  readonly cutmix: number;
  readonly resample?: Rendering['resample'];
  readonly round?: Rendering['round'];
  readonly batch?: number;
  readonly workers?: number;
  readonly json?: boolean;
}

export function addCache(program: Command, io: CliIo): void {
  const command = program
    .command('cache')
    .description("Store a teacher's soft labels of every augmented view of a folder of images.")
    .requiredOption(
      '--teacher <path>',
      'softpack .safetensors, TensorFlow.js model, SavedModel folder or .onnx file',
    )
    .requiredOption(
      '-i, --images <path>',
      'folder of images or of class folders, list of files, or packed images',
    )
    .requiredOption('-E, --epochs <n>', 'views per image', positiveInteger)
    .option('--keep <n>', 'label the first n epochs, which serve for all in turn', positiveInteger)
    .requiredOption('-o, --out <dir>', 'archive to write; an interrupted run is resumed');
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
    )
    .option(
      '-t, --tau <t>',
      'temperature of the labels softmax(logits / tau); default: 20',
      positiveNumber,
    )
    .addOption(tauScheduleOption())
    .option('--steps <n>', 'training steps of the codec', positiveInteger, 1000)
    .option('--seed <n>', 'seed of the views and of the codec', nonNegativeInteger, 0);
  addFilterOptions(command, 'with a codec');
  addTeacherOptions(command)
    .option('--split <name>', 'dataset split of the folder, e.g. train')
    .option(
      '--short-side <n>',
      "shrink images to this shorter side; default: twice the teacher's",
      positiveInteger,
    )
    .option('--min-crop <share>', 'smallest share of the image that a view shows', shareOf, 0.08)
    .option('--flip <p>', 'probability of mirrored views', shareOf, 0.5)
    .option(
      '--cutmix <p>',
      'probability of views with a part of another image (CutMix)',
      shareOf,
      1,
    )
    .addOption(resampleOption("how crops are resized; default: the teacher's, else bilinear"))
    .addOption(roundOption("rounding of resized pixels; default: the teacher's, else none"))
    .option('-b, --batch <n>', 'images per forward pass of the teacher', positiveInteger)
    .option(
      '-w, --workers <n>',
      'number of teacher workers (default: one per CPU)',
      positiveInteger,
    )
    .option('--json', 'print the result as JSON')
    .action(async (flags: CacheFlags) => {
      const options = await optionsOf(flags, command.getOptionValueSource('codec') !== 'default');
      // Loading TensorFlow.js takes a second that other commands need not spend.
      const { cacheLabels } = await import('../pipeline/cache-labels.js');
      const result = await cacheLabels({
        ...options,
        acceptFinished: true,
        onProgress: cacheProgress(io),
        signal: io.signal,
      });
      reportSkipped(io, result.skipped);
      print(io, flags.json ? JSON.stringify(result) : describe(result, flags));
    });
}

async function optionsOf(flags: CacheFlags, named: boolean): Promise<CacheLabelsOptions> {
  const { teacher, images, epochs, out, full, tau, steps, seed, minCrop, flip, cutmix } = flags;
  // Without codec options the logits are kept as they are: they can be packed at any ratio later.
  return {
    ...{
      teacher,
      images,
      epochs,
      keep: keepOf(flags),
      out,
      full,
      passes: flags.passes,
      tau,
      tauSchedule: flags.tauSchedule,
      backend: flags.backend,
      split: flags.split,
    },
    ...{ workers: flags.workers, batch: flags.batch, fit: fitOf(flags) },
    description: await descriptionOf(flags),
    augmentation: {
      seed,
      crop: { scale: [minCrop, 1], ratio: [3 / 4, 4 / 3] },
      flip,
      resample: flags.resample,
      round: flags.round,
      mix: cutmix === 0 ? { kind: 'none' } : { kind: 'cutmix', alpha: 1, probability: cutmix },
    },
    ...(named || givesSize(flags) ? { codec: codecOf(flags) } : {}),
    filter: filterOf(flags),
    training: { steps, seed },
  };
}

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
    `${formatBytes(bytes.total)} on disk, ${(full / bytes.total).toFixed(1)} times smaller than float16`,
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
