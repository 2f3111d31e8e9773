import { type Command, InvalidArgumentError, Option } from 'commander';
import { SoftpackError } from '../errors.js';
import { queueServer } from '../pipeline/job/bull-queue.js';
import { bullRunner } from '../pipeline/job/bull-runner.js';
import type { JobShare, RunJobOptions } from '../pipeline/job/run.js';
import type { SetAside } from '../pipeline/job/runner.js';
import { type JobStatus, jobStatus } from '../pipeline/job/status.js';
import { type JobStores, openJobStores } from '../pipeline/job/stores.js';
import { type CliIo, ExitWith, print } from './io.js';
import { jobKinds } from './job-kinds.js';
import { positiveInteger } from './options.js';
import { reportedStep } from './progress.js';

/** The steps of `softpack cache` that make shards: by a share, or by a queue. */

export const JOB = 'folder or s3://bucket/prefix of the job and what it makes';
export const QUEUE = 'redis://host:6379 (Redis or Valkey) or postgres://host/database';

export interface JsonFlag {
  readonly json?: boolean;
}

export interface WorkerFlags {
  readonly teacher?: string;
  readonly images?: string;
  readonly statistics?: string;
  readonly workers?: number;
}

export function addWorkerOptions(command: Command): Command {
  return command
    .option('--teacher <path>', 'the teacher on this machine; default: the path of the plan')
    .option('-i, --images <path>', 'the images on this machine; default: the path of the plan')
    .option(
      '--statistics <file>',
      'the statistics of distilled images on this machine; default: the path of the plan',
    )
    .option(
      '-w, --workers <n>',
      'number of teacher workers (default: one per CPU)',
      positiveInteger,
    );
}

type ShardFlags = WorkerFlags & JsonFlag;

function addShardOptions(command: Command): Command {
  return addWorkerOptions(command).option('--json', 'print the result as JSON');
}

interface RunFlags extends ShardFlags {
  readonly shard?: JobShare;
}

export function addRunStep(cache: Command, io: CliIo): void {
  const command = cache
    .command('run')
    .description('Many machines: make the shards of a job that are missing.')
    .argument('<job>', JOB)
    .addOption(
      new Option(
        '--shard <i/n>',
        'shards i, i + n, i + 2n, ...; default: by SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX, else all',
      ).argParser(shareOf),
    );
  addShardOptions(command).action(async (address: string, { shard, ...flags }: RunFlags) => {
    const stores = await openJobStores(address);
    const share =
      shard ??
      (await shareOfEngine(process.env, async () =>
        jobStatus(stores, { kinds: await jobKinds() }),
      ));
    await makeShards(io, stores, { ...flags, share });
  });
}

interface WorkFlags extends ShardFlags {
  readonly queue: string;
  readonly lock: number;
  readonly tries: number;
  readonly retry?: boolean;
}

export function addWorkStep(cache: Command, io: CliIo): void {
  const command = cache
    .command('work')
    .description(
      'Many machines: make the shards that a queue hands out, until none is missing. Workers may come, go and die.',
    )
    .argument('<job>', JOB)
    .requiredOption('--queue <address>', `${QUEUE}; needs the package bullmq`)
    .option(
      '--lock <s>',
      'seconds without a sign of life after which a worker is dead',
      positiveInteger,
      30,
    )
    .option('--tries <n>', 'tries after which a shard is set aside', positiveInteger, 3)
    .option('--retry', 'also shards that were set aside');
  addShardOptions(command).action(
    async (address: string, { queue, lock, retry, ...flags }: WorkFlags) => {
      const stores = await openJobStores(address);
      const runner = bullRunner(await queueServer(queue, { lockMs: 1000 * lock }), { retry });
      await makeShards(io, stores, { ...flags, runner });
    },
  );
}

/** Exit code 1 if shards were set aside. */
async function makeShards(
  io: CliIo,
  stores: JobStores,
  { json, ...options }: RunJobOptions & JsonFlag,
): Promise<void> {
  const { runJob } = await import('../pipeline/job/run.js');
  const bar = reportedStep('making shards', io.stderr);
  const told = { kinds: await jobKinds(), onProgress: bar.report, signal: io.signal };
  const result = await runJob(stores, { ...options, ...told });
  bar.finish();
  const { made, verified, skipped, setAside } = result;
  const text = `${made} shards made, ${verified} verified, ${skipped} were there`;
  print(io, json ? JSON.stringify(result) : [text, ...setAside.map(setAsideLine)].join('\n'));
  if (setAside.length > 0) throw new ExitWith(1);
}

export function setAsideLine({ shard, reason }: SetAside): string {
  return `shard ${shard} was set aside: ${reason}`;
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
