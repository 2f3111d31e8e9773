import type { Command } from 'commander';
import type { ShardGrid } from '../archive/grid.js';
import type { Rendering } from '../augment/replay.js';
import type { CacheLabelsOptions } from '../pipeline/cache-options.js';
import { type CodecFlags, codecOf, givesSize, keepOf } from './codec-options.js';
import { addFilterOptions, type FilterFlags, filterOf } from './filter-options.js';
import {
  nonNegativeInteger,
  positiveInteger,
  positiveNumber,
  resampleOption,
  roundOption,
  shareOf,
  tauScheduleOption,
} from './options.js';
import { type FitFlags, fitOf, size } from './pack-images.js';
import { addTeacherOptions, descriptionOf, type TeacherFlags } from './teacher-options.js';

/** What teacher, images, views and codec are: the same for one machine and for a job of many. */
export interface LabelFlags extends CodecFlags, FilterFlags, FitFlags, TeacherFlags {
  readonly teacher: string;
  readonly images: string;
  readonly epochs: number;
  readonly keep?: number;
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
  readonly grid?: ShardGrid;
}

/** Options without which nothing can be labelled, as `requiredOption` lists them. */
const REQUIRED = {
  teacher: '--teacher <path>',
  images: '-i, --images <path>',
  epochs: '-E, --epochs <n>',
} as const;

/** Adds the options of {@link LabelFlags} but those of codecs and views. */
export function addSourceOptions(command: Command): Command {
  return command
    .option(
      REQUIRED.teacher,
      'softpack .safetensors, TensorFlow.js model, SavedModel folder or .onnx file',
    )
    .option(
      REQUIRED.images,
      'folder of images or of class folders, list of files, or packed images',
    )
    .option(REQUIRED.epochs, 'views per image', positiveInteger)
    .option('--keep <n>', 'label the first n epochs, which serve for all in turn', positiveInteger);
}

/** Adds the options of views and of the codec's training. */
export function addViewOptions(command: Command): Command {
  command
    .option(
      '-t, --tau <t>',
      'temperature of the labels softmax(logits / tau); default: 20',
      positiveNumber,
    )
    .addOption(tauScheduleOption())
    .option('--steps <n>', 'training steps of the codec', positiveInteger, 1000)
    .option('--seed <n>', 'seed of the views and of the codec', nonNegativeInteger, 0);
  addFilterOptions(command, 'with a codec');
  return addTeacherOptions(command)
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
      '--grid <ExS>',
      'with a codec: epochs x samples of a shard, e.g. 300x4096; default: whole rows, as many as fit',
      gridOf,
    );
}

/** `300x4096`. */
function gridOf(text: string): ShardGrid {
  const [epochs, samples] = size(text);
  return { epochs, samples };
}

/** A usage error as commander's own if an option is missing: a command with subcommands cannot require any. */
export function requireOptions(
  command: Command,
  required: Readonly<Record<string, string>> = REQUIRED,
): void {
  for (const [name, flag] of Object.entries(required)) {
    if (command.getOptionValue(name) !== undefined) continue;
    command.error(`error: required option '${flag}' not specified`, {
      code: 'commander.missingMandatoryOptionValue',
    });
  }
}

/** What is labelled, and how. Without codec options the logits are kept as they are. */
export async function labelOptionsOf(
  flags: LabelFlags,
  command: Command,
): Promise<Omit<CacheLabelsOptions, 'out'>> {
  const { teacher, images, epochs, tau, tauSchedule, backend, split, batch, grid } = flags;
  const { steps, seed, minCrop, flip, cutmix, resample, round } = flags;
  const named = command.getOptionValueSource('codec') !== 'default';
  return {
    ...{ teacher, images, epochs, keep: keepOf(flags), tau, tauSchedule, backend, split },
    ...{ batch, grid, fit: fitOf(flags) },
    description: await descriptionOf(flags),
    augmentation: {
      seed,
      crop: { scale: [minCrop, 1], ratio: [3 / 4, 4 / 3] },
      ...{ flip, resample, round },
      mix: cutmix === 0 ? { kind: 'none' } : { kind: 'cutmix', alpha: 1, probability: cutmix },
    },
    ...(named || givesSize(flags) ? { codec: codecOf(flags) } : {}),
    filter: filterOf(flags),
    training: { steps, seed },
  };
}
