import type { Command } from 'commander';
import type { FeatureStatisticsOptions } from '../synthesis/statistics/options.js';
import { type CliIo, print } from './io.js';
import { nonNegativeInteger, positiveInteger, positiveNumber } from './options.js';
import { phaseProgress } from './progress.js';
import { addTeacherOptions, descriptionOf, type TeacherFlags } from './teacher-options.js';

interface StatisticsFlags
  extends Omit<FeatureStatisticsOptions, 'description' | 'backend'>,
    TeacherFlags {
  readonly json?: boolean;
}

export function addStatistics(program: Command, io: CliIo): void {
  const command = program
    .command('statistics')
    .description("Mean and variance of a teacher's batch-norm inputs over images, for synthesise.")
    .requiredOption(
      '--teacher <path>',
      'softpack .safetensors, torchvision .pth or TensorFlow.js model',
    )
    .requiredOption('-i, --images <path>', 'class folders, list of files, or packed images')
    .requiredOption('-o, --out <file>', 'safetensors file to write; an interrupted run is resumed')
    .option('--no-per-class', 'of all images only, which then need no classes')
    .option('--views <n>', 'augmented views of each image (default: 1)', positiveInteger)
    .option(
      '--min-crop <x>',
      'smallest share of an image in a view (default: 0.08)',
      positiveNumber,
    )
    .option('--seed <n>', 'seed of the views', nonNegativeInteger, 0)
    .option('-b, --batch <n>', 'views per forward pass (default: 128)', positiveInteger)
    .option('--split <name>', 'dataset split of the folder, e.g. train');
  addTeacherOptions(command)
    .option('--json', 'print the result as JSON')
    .action(async ({ json, ...flags }: StatisticsFlags) => {
      const description = await descriptionOf(flags);
      // Loading TensorFlow.js takes a second that other commands need not spend.
      const { featureStatistics } = await import('../synthesis/statistics/statistics.js');
      const show = phaseProgress({ statistics: 'views' }, io.stderr);
      const result = await featureStatistics({
        ...flags,
        description,
        onProgress: ({ done, total }) => show('statistics', done, total),
        signal: io.signal,
      });
      const { taps, channels, views, images, classes } = result;
      const ofClasses = classes > 0 ? `, of each of ${classes} classes` : '';
      const words = `${taps} layers of ${channels} channels over ${views} views of ${images} images${ofClasses}, in ${flags.out}`;
      print(io, json ? JSON.stringify(result) : words);
    });
}
