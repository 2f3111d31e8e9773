import { type Command, Option } from 'commander';
import { type FilterName, LABEL_FILTERS } from '../labels/ferkd.js';
import { shareOf } from './options.js';

export interface FilterFlags {
  readonly filter?: FilterName;
  readonly filterThreshold?: number;
  readonly filterSmoothing?: number;
}

/** FerKD's adaptation of labels. */
export function addFilterOptions(command: Command, when: string): Command {
  return command
    .addOption(
      new Option(
        '--filter <name>',
        `${when}: ferkd replaces labels of views in which the teacher does not see the image's class by smoothed hard ones`,
      ).choices(LABEL_FILTERS),
    )
    .option(
      '--filter-threshold <p>',
      "of the teacher's probability of the class, below which ferkd replaces; default: 0.3",
      shareOf,
    )
    .option(
      '--filter-smoothing <p>',
      'share of the other classes in labels of ferkd; default: 0.1',
      shareOf,
    );
}

export function filterOf({ filter, filterThreshold, filterSmoothing }: FilterFlags) {
  if (filter === undefined) return undefined;
  return { name: filter, threshold: filterThreshold, smoothing: filterSmoothing };
}
