import type { Command } from 'commander';
import { mergeArchives } from '../archive/merge.js';
import { type CliIo, print } from './io.js';
import { reportedStep } from './progress.js';

interface MergeFlags {
  readonly out: string;
  readonly json?: boolean;
}

export function addMerge(program: Command, io: CliIo): void {
  program
    .command('merge')
    .description(
      'Make one archive of parts of one plan, finished or not, or of archives whose epochs follow each other.',
    )
    .argument('<dirs...>', 'folders or addresses, in the order of their epochs')
    .requiredOption('-o, --out <dir>', 'archive to write; an interrupted run is resumed')
    .option('--json', 'print the result as JSON')
    .action(async (dirs: readonly string[], { out, json }: MergeFlags) => {
      const bar = reportedStep('Merging', io.stderr);
      const { epochs, samples, archiveId } = await mergeArchives(out, dirs, {
        signal: io.signal,
        onProgress: bar.report,
      });
      bar.finish();
      const text = `${epochs} epochs x ${samples} samples, archive ${archiveId}`;
      print(io, json ? JSON.stringify({ archiveId, epochs, samples }) : text);
    });
}
