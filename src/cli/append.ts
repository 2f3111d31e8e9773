import { stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { appendArchive } from '../archive/append.js';
import type { AppendAxis } from '../archive/appending.js';
import { allEpochs, allSamples } from '../archive/parts.js';
import { CODECS } from '../codecs/registry.js';
import { formatBytes } from '../core/format.js';
import { appendLabels } from '../pipeline/append.js';
import { addCodecOptions, type CodecFlags, codecOf, givesSize } from './codec-options.js';
import { type CliIo, print } from './io.js';
import { addLogitsOptions, type LogitsFlags, labelsOf } from './logits-options.js';
import {
  nonNegativeInteger,
  positiveInteger,
  positiveNumber,
  tauScheduleOption,
} from './options.js';
import { packProgress } from './pack.js';
import { reportedStep } from './progress.js';
import { warnOfGrowth } from './ratio-words.js';

interface AppendFlags extends CodecFlags, LogitsFlags {
  readonly samples?: boolean;
  readonly views?: 'following' | 'unknown';
  readonly tau?: number;
  readonly tauSchedule?: 'lpqld' | readonly number[];
  readonly steps: number;
  readonly seed: number;
  readonly json?: boolean;
}

export function addAppend(program: Command, io: CliIo): void {
  const command = program
    .command('append')
    .description('Add epochs or samples to a finished archive, which stays readable meanwhile.')
    .argument('<dir>', 'archive')
    .argument('<more>', 'archive of what follows, or its address; or a file of logits')
    .option('-s, --samples', 'add samples in all epochs instead of epochs of all samples');
  addLogitsOptions(addCodecOptions(command))
    .addOption(
      new Option(
        '--views <which>',
        "of a file: the archive's views of the epochs that follow, or unknown ones",
      ).choices(['following', 'unknown']),
    )
    .option(
      '-t, --tau <t>',
      "temperature of the labels; default: that of the archive's last epoch",
      positiveNumber,
    )
    .addOption(tauScheduleOption())
    .option('--steps <n>', 'training steps of the codec', positiveInteger, 1000)
    .option('--seed <n>', 'seed of the training', nonNegativeInteger, 0)
    .option('--json', 'print the result as JSON')
    .action(async (dir: string, more: string, flags: AppendFlags) => {
      const file = await stat(more).catch(() => undefined);
      const named = command.getOptionValueSource('codec') !== 'default';
      if (file?.isFile()) await appendFile(dir, more, flags, named, io);
      else await appendWhole(dir, more, flags, io);
    });
}

function axisOf({ samples }: Pick<AppendFlags, 'samples'>): AppendAxis {
  return samples ? 'samples' : 'epochs';
}

async function appendWhole(
  dir: string,
  more: string,
  flags: AppendFlags,
  io: CliIo,
): Promise<void> {
  const add = axisOf(flags);
  const bar = reportedStep('Copying', io.stderr);
  const options = { add, signal: io.signal, onProgress: bar.report };
  const manifest = await appendArchive(dir, more, options);
  bar.finish();
  const parts = 1 + (manifest.parts ?? []).length;
  const [epochs, samples] = [allEpochs(manifest), allSamples(manifest)];
  const all = add === 'samples' ? `${epochs} epochs x ${samples} samples` : `${epochs} epochs`;
  const text = `${dir}: ${all} in ${parts} parts`;
  print(io, flags.json ? JSON.stringify({ epochs, samples, parts }) : text);
}

async function appendFile(
  dir: string,
  more: string,
  flags: AppendFlags,
  named: boolean,
  io: CliIo,
): Promise<void> {
  const { tensor, views, tau, tauSchedule, steps, seed } = flags;
  const result = await appendLabels({
    ...{ archive: dir, source: more, add: axisOf(flags), tensor, views, tau, tauSchedule },
    labels: labelsOf(flags),
    ...(named || givesSize(flags) ? { codec: codecOf(flags) } : {}),
    training: { steps, seed },
    onProgress: packProgress(io),
    signal: io.signal,
  });
  const { labels, codec, bytes } = result;
  warnOfGrowth(io, result);
  const text = `${labels} labels in ${formatBytes(bytes.total)} appended, ${CODECS.words(codec)}`;
  print(io, flags.json ? JSON.stringify(result) : text);
}
