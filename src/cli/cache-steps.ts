import { type Command, Option } from 'commander';
import { formatBytes } from '../core/format.js';
import { type QueueState, queueServer, queueState } from '../pipeline/job/bull-queue.js';
import { noCodec } from '../pipeline/job/codec.js';
import { type JobStatus, jobStatus, numberRanges } from '../pipeline/job/status.js';
import { openJobStores } from '../pipeline/job/stores.js';
import {
  addRunStep,
  addWorkerOptions,
  addWorkStep,
  JOB,
  type JsonFlag,
  QUEUE,
  setAsideLine,
  type WorkerFlags,
} from './cache-run.js';
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
import { reportedStep, seconds } from './progress.js';

/** The steps of `softpack cache` for many machines, each of which may be repeated at any time. */
export function addCacheSteps(cache: Command, io: CliIo): void {
  addPlanStep(cache, io);
  addCodecStep(cache, io);
  addRunStep(cache, io);
  addWorkStep(cache, io);
  addMissing(cache, io);
  addStatus(cache, io);
  addFinalize(cache, io);
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
    .option('--queue <address>', `${QUEUE}: tell of its workers too, and the time left`)
    .option('--json', 'print it as JSON')
    .action(async (address: string, { queue, json }: StatusFlags) => {
      const status = await jobStatus(await openJobStores(address), { signal: io.signal });
      const told = queue === undefined ? undefined : await workersOf(status, queue);
      if (json) print(io, JSON.stringify({ ...status, ...(told && { queue: told }) }));
      else {
        print(io, [describe(address, status), ...(told ? describeQueue(told) : [])].join('\n'));
      }
    });
}

interface StatusFlags extends JsonFlag {
  readonly queue?: string;
}

type Workers = QueueState & {
  /** Undefined as long as no worker has told of its speed. */
  readonly secondsLeft: number | undefined;
};

async function workersOf(status: JobStatus, queue: string): Promise<Workers> {
  const state = await queueState(await queueServer(queue), status.id);
  // A queue does not hear of shards that were made without it.
  const missing = new Set(status.shards?.missing);
  const setAside = state.setAside.filter(({ shard }) => missing.has(shard));
  return { ...state, setAside, secondsLeft: secondsLeft(status, state) };
}

function secondsLeft({ labels }: JobStatus, queue: QueueState): number | undefined {
  const left = labels.total - labels.done - queue.labels;
  return queue.labelsPerSecond > 0 ? Math.max(0, left) / queue.labelsPerSecond : undefined;
}

function describeQueue(queue: Workers): readonly string[] {
  const { waiting, active, labelsPerSecond, setAside, secondsLeft } = queue;
  const left = secondsLeft === undefined ? '' : `, ${seconds(secondsLeft)} left`;
  return [
    `queue: ${active} shards under way, ${waiting} waiting, ${labelsPerSecond.toFixed(0)} labels/s${left}`,
    ...setAside.map(setAsideLine),
  ];
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
