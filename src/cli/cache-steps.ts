import type { Command } from 'commander';
import { formatBytes } from '../core/format.js';
import { type QueueState, queueServer, queueState } from '../pipeline/job/bull-queue.js';
import { noCodec } from '../pipeline/job/kind.js';
import { type JobStatus, jobStatus, numberRanges } from '../pipeline/job/status.js';
import { type JobStores, openJobStores } from '../pipeline/job/stores.js';
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
import { type CliIo, ExitWith, print } from './io.js';
import { jobKinds } from './job-kinds.js';
import { addScriptOptions, printJob, type ScriptFlags } from './job-output.js';
import {
  addSourceOptions,
  addViewOptions,
  type LabelFlags,
  labelOptionsOf,
  requireOptions,
} from './label-flags.js';
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

type PlanFlags = LabelFlags & JsonFlag & ScriptFlags;

function addPlanStep(cache: Command, io: CliIo): void {
  const command = cache
    .command('plan')
    .description('Many machines: write a job that any of them can work at. No label is made.')
    .argument('<job>', JOB);
  addSourceOptions(command);
  addCodecOptions(command);
  addScriptOptions(addViewOptions(command))
    .option('--json', 'print the job as JSON')
    .action(async (address: string, flags: PlanFlags) => {
      requireOptions(command);
      const options = await labelOptionsOf(flags, command);
      const { planJob } = await import('../pipeline/job/plan.js');
      const job = await planJob(await openJobStores(address), options, io.signal);
      const { identity, backend, batch } = job.content;
      const { epochs, storedEpochs = epochs, samples, classes } = identity;
      const lines = [
        `${storedEpochs} epochs x ${samples} images, ${classes} classes`,
        `backend ${backend}, ${batch} images per pass`,
        `next: softpack cache codec ${address}`,
      ];
      printJob(io, address, job, lines, flags);
    });
}

function addCodecStep(cache: Command, io: CliIo): void {
  const command = cache
    .command('codec')
    .description(
      'Many machines: train the codec of a job, once. Does nothing if there is one, or none is needed.',
    )
    .argument('<job>', JOB);
  addWorkerOptions(command).action(async (address: string, flags: WorkerFlags) => {
    const { trainJobCodec } = await import('../pipeline/job/codec.js');
    const stores = await openJobStores(address);
    const { signal } = io;
    const kinds = await jobKinds();
    const options = { ...flags, kinds, signal, onProgress: packProgress(io) };
    const trained = await trainJobCodec(stores, options);
    const { shards } = await jobStatus(stores, { kinds, signal });
    const words = trained ? 'codec trained' : 'nothing to train';
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
      const { shards } = await statusOf(io, stores);
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
      const status = await statusOf(io, await openJobStores(address));
      const told = queue === undefined ? undefined : await workersOf(status, queue);
      if (json) print(io, JSON.stringify({ ...statusJson(status), ...(told && { queue: told }) }));
      else {
        print(
          io,
          [describe(address, status), ...(told ? describeQueue(told, status.unit) : [])].join('\n'),
        );
      }
    });
}

async function statusOf(io: CliIo, stores: JobStores): Promise<JobStatus> {
  return jobStatus(stores, { kinds: await jobKinds(), signal: io.signal });
}

/** Numbers by the names that jobs of this kind count in. */
function statusJson({ facts, words: _, unit, total, done, ...status }: JobStatus): object {
  return { ...status, ...facts, [unit]: { total, done } };
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

function secondsLeft({ total, done }: JobStatus, queue: QueueState): number | undefined {
  const left = total - done - queue.labels;
  return queue.labelsPerSecond > 0 ? Math.max(0, left) / queue.labelsPerSecond : undefined;
}

function describeQueue(queue: Workers, unit: string): readonly string[] {
  const { waiting, active, labelsPerSecond, setAside, secondsLeft } = queue;
  const left = secondsLeft === undefined ? '' : `, ${seconds(secondsLeft)} left`;
  return [
    `queue: ${active} shards under way, ${waiting} waiting, ${labelsPerSecond.toPrecision(3)} ${unit}/s${left}`,
    ...setAside.map(setAsideLine),
  ];
}

function describe(address: string, status: JobStatus): string {
  const { words, unit, total, done, shards, bytes, finished } = status;
  const lines = [`${address}: ${words}`];
  if (shards === undefined) return [...lines, 'no codec yet'].join('\n');
  const percent = ((100 * done) / total).toFixed(1);
  lines.push(
    `${shards.done} of ${shards.total} shards, ${done} of ${total} ${unit} (${percent} %), ${formatBytes(bytes)}`,
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
    .description('Many machines: complete what a job makes, or say which shards are missing.')
    .argument('<job>', JOB)
    .option('--verify', 'read every shard first; damaged ones are made by the next run')
    .option('--json', 'print the result as JSON')
    .action(async (address: string, { verify, json }: FinalizeFlags) => {
      const { finalizeJob } = await import('../pipeline/job/finalize.js');
      const bar = reportedStep('Verifying', io.stderr);
      const result = await finalizeJob(await openJobStores(address), {
        ...{ kinds: await jobKinds(), verify, onProgress: bar.report, signal: io.signal },
      });
      if (verify) bar.finish();
      const { words, facts, ...known } = result;
      const { shards, bytes } = known;
      const text = `${shards} shards, ${formatBytes(bytes)}, ${words} in ${address}`;
      print(io, json ? JSON.stringify({ ...known, ...facts }) : text);
    });
}
