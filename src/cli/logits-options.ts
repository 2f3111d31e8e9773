import { type Command, Option } from 'commander';
import type { PackOptions } from '../pipeline/pack-options.js';

/** What a file of logits holds. */
export interface LogitsFlags {
  readonly tensor?: string;
  readonly probabilities?: boolean;
  readonly logits?: boolean;
}

export function addLogitsOptions(command: Command): Command {
  return command
    .option('--tensor <name>', 'which array of a file that holds several')
    .option('--probabilities', 'the file holds probabilities p, which become logits log p')
    .addOption(
      new Option(
        '--logits',
        'the file holds logits, even if they look like something else',
      ).conflicts('probabilities'),
    );
}

export function labelsOf({ probabilities, logits }: LogitsFlags): PackOptions['labels'] {
  if (probabilities) return 'probabilities';
  return logits ? 'logits' : undefined;
}
