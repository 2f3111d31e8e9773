import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { jobStatus } from '#src/pipeline/job/status.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { type Files, filesIn, jobOptions, planned } from '../pipeline/job.js';
import { installBull, type QueueTestServer, startRedis } from '../pipeline/queue-servers.js';
import { temporaryDirectory } from '../temporary.js';

/** `softpack cache work` as people start it: processes at a queue in Redis. */

const directory = await temporaryDirectory();
const fileAt = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const main = fileAt('../../dist/cli/main.js');
// 6 shards of 840 labels: long enough to be killed at.
const grid = { epochs: 40, samples: 24 };
const options = { ...(await jobOptions(directory)), epochs: 240, grid };
const SHARDS = 6;

let missing: string | undefined;
let bull = '';
let server: QueueTestServer | undefined;
let wanted: Files;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  try {
    bull = installBull();
    server = await startRedis();
  } catch (error) {
    missing = `bullmq or Redis cannot be installed or started here: ${error}`;
    return;
  }
  const out = directory.path('one machine');
  await cacheLabels({ ...options, out, passes: 1, workers: 1 });
  wanted = await filesIn(out);
}, 180_000);
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await server?.stop();
});

/** A worker, to which the packages of these names are installed. */
function work(job: string, args: readonly string[], names = ['bullmq', 'ioredis']) {
  const hook = ['--import', fileAt('packages.mjs')];
  const at = ['--queue', server?.address ?? '', '--workers', '1', '--quiet', ...args];
  const env = { ...process.env, SOFTPACK_TEST_PACKAGES: JSON.stringify({ folder: bull, names }) };
  const child = spawn(process.execPath, [...hook, main, 'cache', 'work', job, ...at], { env });
  children.add(child);
  let err = '';
  child.stderr.on('data', (piece: Buffer) => {
    err += piece;
  });
  const ended = once(child, 'close').then(([code, signal]) => ({ end: signal ?? code, err }));
  return { child, ended };
}

/** Waits until so many shards have a receipt. */
async function untilMade(job: string, shards: number): Promise<void> {
  const receipts = `${job}/job/receipts`;
  while (!existsSync(receipts) || readdirSync(receipts).length < shards) await setTimeout(10);
}

it('makes the bytes of one machine though a worker is killed and the queue forgets everything', async ({
  skip,
}) => {
  if (missing !== undefined) skip(missing);
  const job = directory.path('killed');
  const stores = await planned(await openJobStores(job), options);
  const victim = work(job, ['--lock', '2']);
  const other = work(job, ['--lock', '2']);
  await untilMade(job, 1);
  victim.child.kill('SIGKILL');
  expect((await victim.ended).end).toBe('SIGKILL');
  await untilMade(job, 2);
  await server?.restart?.();
  expect(await other.ended).toMatchObject({ end: 0 });
  expect(await jobStatus(stores)).toMatchObject({ shards: { done: SHARDS } });
  await finalizeJob(stores, { verify: true });
  expect(await filesIn(job)).toEqual(wanted);
}, 180_000);

it('stops at SIGTERM, leaves nothing unfinished, and another worker makes the rest', async ({
  skip,
}) => {
  if (missing !== undefined) skip(missing);
  const job = directory.path('stopped');
  const stores = await planned(await openJobStores(job), options);
  const { child, ended } = work(job, []);
  await untilMade(job, 1);
  child.kill('SIGTERM');
  expect((await ended).end).toBe(143);
  expect(readdirSync(job).filter((name) => name.includes('.tmp-'))).toEqual([]);
  expect((await jobStatus(stores)).shards?.missing.length).toBeGreaterThan(0);
  expect(await work(job, []).ended).toMatchObject({ end: 0 });
  await finalizeJob(stores);
  expect(await filesIn(job)).toEqual(wanted);
}, 180_000);

it.each([
  [[], 'npm install bullmq'],
  [['bullmq'], 'npm install ioredis'],
])('with the packages %j says what to type', async (names, typed) => {
  const { end, err } = await work(directory.path('none'), ['--queue', 'redis://host'], names).ended;
  expect(end).toBe(1);
  expect(err).toContain(typed);
});
