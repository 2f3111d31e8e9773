import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { jobScript } from '#src/cli/job-scripts.js';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { jobStatus, numberRanges } from '#src/pipeline/job/status.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { filesIn, jobOptions, planned } from '../pipeline/job.js';
import { freePort } from '../store/servers.js';
import { temporaryDirectory } from '../temporary.js';

const directory = await temporaryDirectory();
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const at = (name: string) => directory.path(`slurm/${name}`);
const DAEMONS = ['munged', 'slurmctld', 'slurmd'];
const TASKS = 3;
let missing: string | undefined;

/** One node at 127.0.0.1, with a key of its own. */
function config(port: number): string {
  return [
    'ClusterName=softpack',
    `SlurmctldHost=${hostname()}(127.0.0.1)`,
    ...[`SlurmctldPort=${port}`, `SlurmdPort=${port + 1}`, 'SlurmUser=root'],
    ...['AuthType=auth/munge', `AuthInfo=socket=${at('munge.sock')}`, 'CredType=cred/munge'],
    ...[`StateSaveLocation=${at('state')}`, `SlurmdSpoolDir=${at('spool')}`],
    ...[`SlurmctldPidFile=${at('slurmctld.pid')}`, `SlurmdPidFile=${at('slurmd.pid')}`],
    ...[`SlurmctldLogFile=${at('slurmctld.log')}`, `SlurmdLogFile=${at('slurmd.log')}`],
    ...['ProctrackType=proctrack/pgid', 'TaskPlugin=task/none', 'SwitchType=switch/none'],
    ...['SelectType=select/cons_tres', 'SelectTypeParameters=CR_CPU', 'ReturnToService=2'],
    ...['JobAcctGatherType=jobacct_gather/none', 'MailProg=/bin/true'],
    'AccountingStorageType=accounting_storage/none',
    'CommunicationParameters=NoInAddrAny,NoCtldInAddrAny',
    'SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1',
    `NodeName=${hostname()} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN`,
    'PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP',
    '',
  ].join('\n');
}

function run(program: string, args: readonly string[]): string {
  const env = {
    ...process.env,
    SLURM_CONF: at('slurm.conf'),
    PATH: `${at('')}:${process.env.PATH}`,
  };
  return execFileSync(program, args, { env, encoding: 'utf8', stdio: 'pipe' });
}

async function start(): Promise<void> {
  for (const daemon of [...DAEMONS, 'sbatch']) run('which', [daemon]);
  if (process.getuid?.() !== 0) throw new Error('its daemons need root');
  writeFileSync(at('slurm.conf'), config(await freePort()));
  writeFileSync(at('key'), Buffer.alloc(64, 'no secret'), { mode: 0o600 });
  // Slurm asks munged of its own socket, which must not be writable for others.
  const munge = [`--key-file=${at('key')}`, `--socket=${at('munge.sock')}`, '--force'];
  const files = ['pid', 'log', 'seed'].map((kind) => `--${kind}-file=${at(`munged.${kind}`)}`);
  run('munged', [...munge, ...files]);
  for (const daemon of ['slurmctld', 'slurmd']) run(daemon, ['-f', at('slurm.conf')]);
  for (let i = 0; i < 200; i++) {
    if (/idle/.test(run('sinfo', ['-h', '-o', '%t']))) return;
    await setTimeout(100);
  }
  throw new Error('no node after 20 seconds');
}

beforeAll(async () => {
  for (const name of ['', 'state', 'spool', 'out']) mkdirSync(at(name), { recursive: true });
  try {
    await start();
  } catch (error) {
    missing = `Slurm cannot be started here (apt install slurmctld slurmd slurm-client munge): ${error}`;
  }
});

/** Whether the daemon runs and took the signal. */
function signal(pid: number, name: 'SIGTERM' | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

afterAll(async () => {
  for (const daemon of DAEMONS) {
    if (!existsSync(at(`${daemon}.pid`))) continue;
    const pid = Number(readFileSync(at(`${daemon}.pid`), 'utf8'));
    signal(pid, 'SIGTERM');
    while (signal(pid, 0)) await setTimeout(20);
  }
});

/** Submits the script and waits until all of its tasks have ended. */
async function submit(args: readonly string[]): Promise<void> {
  const out = ['--parsable', `--output=${at('out/%A_%a')}`];
  const id = run('sbatch', [...out, ...args, at('job.sh')]).trim();
  while (run('squeue', ['-h', '-j', id]).trim() !== '') await setTimeout(200);
}

it('the script of a job labels it in an array, and makes up for a task that was killed', async ({
  skip,
}) => {
  if (missing !== undefined) skip(missing);
  const options = await jobOptions(directory);
  const out = directory.path('one machine');
  await cacheLabels({ ...options, out, passes: 1, workers: 1 });
  const folder = directory.path('job');
  const stores = await planned(await openJobStores(folder), options);
  writeFileSync(at('job.sh'), jobScript('slurm', folder, TASKS));
  // Task 1 is killed at its first time, with its batch script.
  const softpack = [
    '#!/bin/bash',
    `[ "$SLURM_ARRAY_TASK_ID" = 1 ] && mkdir ${at('killed')} 2>/dev/null && kill -9 $$`,
    `exec ${process.execPath} ${main} "$@" --workers 1`,
  ];
  writeFileSync(at('softpack'), softpack.join('\n'));
  chmodSync(at('softpack'), 0o755);
  await submit([]);
  await expect(finalizeJob(stores)).rejects.toMatchObject({
    ...{ code: 'INCOMPLETE', found: 'without 1,4,7' },
  });
  const { shards } = await jobStatus(stores);
  await submit([`--array=${numberRanges(shards?.missing ?? [])}`]);
  await finalizeJob(stores);
  expect(await filesIn(folder)).toEqual(await filesIn(out));
}, 180_000);
