import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatBytes } from '../core/format.js';
import { SoftpackError } from '../errors.js';
import { noCodec } from '../pipeline/job/codec.js';
import type { JobShare } from '../pipeline/job/run.js';
import { type JobStatus, jobStatus, numberRanges } from '../pipeline/job/status.js';
import { openJobStores } from '../pipeline/job/stores.js';
import { addCodecOptions } from './codec-options.js';
import { type CliIo, ExitWith, print, printable } from './io.js';
import { ENGINES, type Engine, jobScript } from './job-scripts.js';
import {
  addSourceOptions,
  addViewOptions,
  type LabelFlags,
  labelOptionsOf,
  requireOptions,
} from './label-flags.js';
import { positiveInteger } from './options.js';
import { packProgress } from './pack.js';
import { reportedStep } from './progress.js';

/** The steps of `softpack cache` for many machines, each of which may be repeated at any time. */
export function addCacheSteps(cache: Command, io: CliIo): void {
  addPlanStep(cache, io);
  addCodecStep(cache, io);
  addRunStep(cache, io);
  addMissing(cache, io);
  addStatus(cache, io);
  addFinalize(cache, io);
}

const JOB = 'folder or s3://bucket/prefix that the archive is made in';

interface JsonFlag {
  readonly json?: boolean;
}

interface PlanFlags extends LabelFlags, JsonFlag {
  readonly for?: Engine;
  readonly tasks: number;
}

function addPlanStep(cache: Command, io: CliIo): void {
  const command = cache
    .command('plan')
    .description('Many machines: write a job that any of them can work at. No label is made.')
    .argument('<job>', JOB);
  addSourceOptions(command);
  addCodecOptions(command);
  addViewOptions(command)
    .addOption(
      new Option('--for <engine>', 'print a script that runs the job')
        .choices(ENGINES)
        .conflicts('json'),
    )
    .option('--tasks <n>', 'processes that the script starts', positiveInteger, 16)
    .option('--json', 'print the job as JSON')
    .action(async (address: string, flags: PlanFlags) => {
      requireOptions(command);
      const options = await labelOptionsOf(flags, command);
      const { planJob } = await import('../pipeline/job/plan.js');
      const job = await planJob(await openJobStores(address), options, io.signal);
      const { identity, backend, batch } = job.content;
      const { epochs, storedEpochs = epochs, samples, classes } = identity;
      const text = [
        `job ${job.id.slice(0, 12)} in ${address}: ${storedEpochs} epochs x ${samples} images, ${classes} classes`,
        `backend ${backend}, ${batch} images per pass`,
        `next: softpack cache codec ${address}`,
      ];
      if (flags.for !== undefined) {
        io.stderr.write(`${printable(text.join('\n'))}\n`);
        print(io, jobScript(flags.for, address, flags.tasks));
      } else print(io, flags.json ? JSON.stringify(job) : text.join('\n'));
    });
}

interface WorkerFlags {
  readonly teacher?: string;
  readonly images?: string;
  readonly workers?: number;
}

function addWorkerOptions(command: Command): Command {
  return command
    .option('--teacher <path>', 'the teacher on this machine; default: the path of the plan')
    .option('-i, --images <path>', 'the images on this machine; default: the path of the plan')
    .option(
      '-w, --workers <n>',
      'number of teacher workers (default: one per CPU)',
      positiveInteger,
    );
}

function addCodecStep(cache: Command, io: CliIo): void {
  const command = cache
    .command('codec')
    .description('Many machines: train the codec of a job, once. Does nothing if there is one.')
    .argument('<job>', JOB);
  addWorkerOptions(command).action(async (address: string, flags: WorkerFlags) => {
    const { trainJobCodec } = await import('../pipeline/job/codec.js');
    const stores = await openJobStores(address);
    const { signal } = io;
    const trained = await trainJobCodec(stores, { ...flags, signal, onProgress: packProgress(io) });
    const { shards } = await jobStatus(stores, { signal });
    const words = trained ? 'codec trained' : 'the codec is there';
    print(io, `${words}: ${shards?.total} shards to make, see softpack cache run`);
  });
}

interface RunFlags extends WorkerFlags {
  readonly shard?: JobShare;
  readonly scratch?: string;
  readonly json?: boolean;
}

function addRunStep(cache: Command, io: CliIo): void {
  const command = cache
    .command('run')
    .description('Many machines: label and encode the shards of a job that are missing.')
    .argument('<job>', JOB)
    .addOption(
      new Option(
        '--shard <i/n>',
        'shards i, i + n, i + 2n, ...; default: by SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX, else all',
      ).argParser(shareOf),
    );
  addWorkerOptions(command)
    .option('--scratch <dir>', 'folder for unfinished shards; default: that of the system')
    .option('--json', 'print the result as JSON')
    .action(async (address: string, { shard, json, ...flags }: RunFlags) => {
      const stores = await openJobStores(address);
      const share = shard ?? (await shareOfEngine(process.env, () => jobStatus(stores)));
      const { runJob } = await import('../pipeline/job/run.js');
      const bar = reportedStep("the teacher's labels", io.stderr);
      const onProgress = bar.report;
      const result = await runJob(stores, { ...flags, share, onProgress, signal: io.signal });
      bar.finish();
      const { made, verified, skipped } = result;
      const text = `${made} shards made, ${verified} verified, ${skipped} were there`;
      print(io, json ? JSON.stringify(result) : text);
    });
}

/** `3/16`, counted from 0. */
function shareOf(text: string): JobShare {
  const [, i, of] = (/^(\d{1,7})\/(\d{1,7})$/.exec(text) ?? []).map(Number);
  if (i < of) return { i, of };
  throw new InvalidArgumentError('Must be i/n with i from 0 to n - 1, e.g. 3/16.');
}

/**
 * The share of a task of a Slurm array, or of an indexed job of Kubernetes. Slurm's arrays count from 0: a repeated one of
 * fewer tasks (`--array=3,17-20`) takes at least the shards of these numbers. Kubernetes does not tell how many there are:
 * one per shard, unless `JOB_COMPLETIONS` is set.
 */
async function shareOfEngine(
  env: NodeJS.ProcessEnv,
  status: () => Promise<JobStatus>,
): Promise<JobShare | undefined> {
  const { SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_MAX, JOB_COMPLETION_INDEX, JOB_COMPLETIONS } = env;
  const task = SLURM_ARRAY_TASK_ID ?? JOB_COMPLETION_INDEX;
  if (task === undefined) return undefined;
  const i = numberOf(task, SLURM_ARRAY_TASK_ID ? 'SLURM_ARRAY_TASK_ID' : 'JOB_COMPLETION_INDEX');
  if (SLURM_ARRAY_TASK_ID !== undefined) {
    return { i, of: numberOf(SLURM_ARRAY_TASK_MAX ?? task, 'SLURM_ARRAY_TASK_MAX') + 1 };
  }
  const of =
    JOB_COMPLETIONS === undefined
      ? ((await status()).shards?.total ?? 1)
      : numberOf(JOB_COMPLETIONS, 'JOB_COMPLETIONS');
  return { i, of: Math.max(of, i + 1) };
}

function numberOf(text: string, variable: string): number {
  if (/^\d{1,7}$/.test(text)) return Number(text);
  const details = { field: variable, expected: 'a whole number', found: text };
  throw new SoftpackError('INVALID_ARGUMENT', 'no number of a task', details);
}

function addMissing(cache: Command, io: CliIo): void {
  cache
    .command('missing')
    .description(
      'Many machines: the numbers of the shards that are missing, as Slurm takes them; exit code 1 if there are any.',
    )
    .argument('<job>', JOB)
    .action(async (address: string) => {
      const stores = await openJobStores(address);
      const { shards } = await jobStatus(stores, { signal: io.signal });
      if (shards === undefined) throw noCodec(stores);
      if (shards.missing.length === 0) return;
      print(io, numberRanges(shards.missing));
      throw new ExitWith(1);
    });
}

function addStatus(cache: Command, io: CliIo): void {
  cache
    .command('status')
    .description('Many machines: how far a job is, from its store alone.')
    .argument('<job>', JOB)
    .option('--json', 'print it as JSON')
    .action(async (address: string, { json }: JsonFlag) => {
      const status = await jobStatus(await openJobStores(address), { signal: io.signal });
      print(io, json ? JSON.stringify(status) : describe(address, status));
    });
}

function describe(address: string, status: JobStatus): string {
  const { epochs, samples, classes, labels, shards, bytes, finished } = status;
  const lines = [`${address}: ${epochs} epochs x ${samples} images, ${classes} classes`];
  if (shards === undefined) return [...lines, 'no codec yet'].join('\n');
  const percent = ((100 * labels.done) / labels.total).toFixed(1);
  lines.push(
    `${shards.done} of ${shards.total} shards, ${labels.done} of ${labels.total} labels (${percent} %), ${formatBytes(bytes)}`,
  );
  if (shards.missing.length > 0) lines.push(`missing: ${numberRanges(shards.missing)}`);
  else lines.push(finished ? 'finished' : `next: softpack cache finalize ${address}`);
  return lines.join('\n');
}

interface FinalizeFlags extends JsonFlag {
  readonly verify?: boolean;
}

function addFinalize(cache: Command, io: CliIo): void {
  cache
    .command('finalize')
    .description('Many machines: complete the archive of a job, or say which shards are missing.')
    .argument('<job>', JOB)
    .option('--verify', 'read every shard first; damaged ones are made by the next run')
    .option('--json', 'print the result as JSON')
    .action(async (address: string, { verify, json }: FinalizeFlags) => {
      const { finalizeJob } = await import('../pipeline/job/finalize.js');
      const bar = reportedStep('Verifying', io.stderr);
      const result = await finalizeJob(await openJobStores(address), {
        ...{ verify, onProgress: bar.report, signal: io.signal },
      });
      if (verify) bar.finish();
      const { shards, bytes, divergence } = result;
      const text = `${shards} shards, ${formatBytes(bytes)}, KL ${divergence.kl.toExponential(2)} nats in ${address}`;
      print(io, json ? JSON.stringify(result) : text);
    });
}
