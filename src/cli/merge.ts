import type { Command } from 'commander';
import { mergeArchives } from '../archive/merge.js';
import { type CliIo, print } from './io.js';
import { createProgress, type ProgressStep } from './progress.js';

export function addMerge(program: Command, io: CliIo): void {
  program
    .command('merge')
    .description(
      'Make one archive of parts of one plan, finished or not, or of archives whose epochs follow each other.',
    )
    .argument('<dirs...>', 'folders or addresses, in the order of their epochs')
    .requiredOption('-o, --out <dir>', 'archive to write; an interrupted run is resumed')
    .action(async (dirs: readonly string[], { out }: { readonly out: string }) => {
      let bar: ProgressStep | undefined;
      const { epochs, samples, archiveId } = await mergeArchives(out, dirs, {
        signal: io.signal,
        onProgress(done, total) {
          bar ??= createProgress(io.stderr).step('Merging', total);
          bar.update(done);
        },
      });
      bar?.finish();
      print(io, `${epochs} epochs x ${samples} samples, archive ${archiveId}`);
    });
}
