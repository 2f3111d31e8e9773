import type { Command } from 'commander';
import { formatBytes } from '../core/format.js';
import { copyArchive } from '../pipeline/copy.js';
import { type CliIo, print } from './io.js';
import { reportedStep } from './progress.js';

export function addCopy(program: Command, io: CliIo): void {
  program
    .command('copy')
    .description(
      'Copy a finished archive or packed images to a folder or s3://bucket/prefix, comparing all with its hashes.',
    )
    .argument('<from>', 'folder or address')
    .argument('<to>', 'folder or s3://bucket/prefix; an interrupted copy is resumed')
    .option('--json', 'print the result as JSON')
    .action(async (from: string, to: string, { json }: { readonly json?: boolean }) => {
      const bar = reportedStep('Copying', io.stderr);
      const result = await copyArchive(from, to, { signal: io.signal, onProgress: bar.report });
      bar.finish();
      const { id, files, bytes, copied } = result;
      const text = `${files} files, ${formatBytes(bytes)}, ${formatBytes(copied)} of them copied now\nid: ${id}`;
      print(io, json ? JSON.stringify(result) : text);
    });
}
