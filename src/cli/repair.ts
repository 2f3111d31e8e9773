import type { Command } from 'commander';
import { formatBytes } from '../core/format.js';
import { SoftpackError } from '../errors.js';
import { type RepairReport, repairArchive } from '../pipeline/repair.js';
import { type CliIo, print } from './io.js';
import { reportedStep } from './progress.js';

interface RepairFlags {
  readonly from: string;
  readonly json?: boolean;
}

export function addRepair(program: Command, io: CliIo): void {
  program
    .command('repair')
    .description(
      'Replace the damaged blocks of an archive, or of packed images, by those of a copy.',
    )
    .argument('<dir>', 'archive or packed images')
    .requiredOption('--from <copy>', 'folder or address of the copy')
    .option('--json', 'print the report as JSON')
    .action((dir: string, flags: RepairFlags) => repair(dir, flags, io));
}

async function repair(dir: string, { from, json }: RepairFlags, io: CliIo): Promise<void> {
  const bar = reportedStep('Verifying and repairing', io.stderr);
  const report = await repairArchive(dir, from, {
    signal: io.signal,
    onProgress: bar.report,
  });
  bar.finish();
  print(io, json ? JSON.stringify(report, null, 2) : describe(report));
  const { length } = report.unrepaired;
  if (length === 0) return;
  throw new SoftpackError('CORRUPT_DATA', `${length} files could not be repaired`, { field: dir });
}

function describe({ repaired, unrepaired, fetched }: RepairReport): string {
  return [
    ...repaired.map(({ file, fetched: own }) => `${file}: repaired, ${formatBytes(own)} fetched`),
    ...unrepaired.map(({ file, problem }) => `${file}: not repaired: ${problem}`),
    `${repaired.length} files repaired, ${formatBytes(fetched)} fetched in all`,
  ].join('\n');
}
