import { type Command, Option } from 'commander';
import type { Job } from '../pipeline/job/record.js';
import { type CliIo, print, printable } from './io.js';
import { ENGINES, type Engine, jobScript } from './job-scripts.js';
import { requireOptions } from './label-flags.js';
import { positiveInteger } from './options.js';

/** What commands say that write a job for many machines. */

export interface ScriptFlags {
  readonly for?: Engine;
  readonly tasks: number;
}

const JOB = 'job';
const OUT = 'out';

/** `--job` of a command that otherwise does all on this machine. @param others options that a job has no use for. */
export function addJobOption(command: Command, others: readonly string[]): Command {
  const words = 'write a job for many machines here instead, to a folder or s3://bucket/prefix';
  command.addOption(new Option('--job <address>', words).conflicts([OUT, ...others]));
  return addScriptOptions(command);
}

/** A usage error unless there is either a job or a folder, and a script of a job alone. */
export function requireOutOrJob(command: Command, outFlag: string): void {
  if (command.getOptionValue(JOB) !== undefined) return;
  requireOptions(command, { [OUT]: outFlag });
  for (const name of ['for', 'tasks']) {
    if (command.getOptionValueSource(name) !== 'cli') continue;
    command.error(`error: option '--${name}' needs '--job <address>'`, {
      code: 'commander.missingMandatoryOptionValue',
    });
  }
}

export function addScriptOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--for <engine>', 'print a script that runs the job')
        .choices(ENGINES)
        .conflicts('json'),
    )
    .option('--tasks <n>', 'processes that the script starts', positiveInteger, 16);
}

/** The job, or a script that runs it. @param lines what is in it. */
export function printJob(
  io: CliIo,
  address: string,
  job: Job,
  lines: readonly string[],
  flags: ScriptFlags & { readonly json?: boolean },
): void {
  const [first, ...others] = lines;
  const text = [`job ${job.id.slice(0, 12)} in ${address}: ${first}`, ...others].join('\n');
  if (flags.for !== undefined) {
    io.stderr.write(`${printable(text)}\n`);
    print(io, jobScript(flags.for, address, flags.tasks));
  } else print(io, flags.json ? JSON.stringify(job) : text);
}
