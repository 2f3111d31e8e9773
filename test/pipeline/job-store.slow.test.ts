import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openWritableStore } from '#src/container/writable-folder.js';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { trainJobCodec } from '#src/pipeline/job/codec.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { planJob } from '#src/pipeline/job/plan.js';
import { runJob } from '#src/pipeline/job/run.js';
import { jobStatus } from '#src/pipeline/job/status.js';
import { type JobStores, openJobStores } from '#src/pipeline/job/stores.js';
import { FaultProxy } from '../store/fault-proxy.js';
import { type S3Server, startRclone, startSeaweed, stopServer } from '../store/servers.js';
import { contentOf } from '../store/writable-contract.js';
import { temporaryDirectory } from '../temporary.js';
import { filesIn, jobOptions, planned, SHARDS, WORKER } from './job.js';
import { KILLED_JOBS, makeDespiteKills, requireWhole } from './killed-jobs.js';

/** Jobs in a bucket of a real server. */

const directory = await temporaryDirectory();
const options = await jobOptions(directory);
const processes: ChildProcess[] = [];
let missing: string | undefined;
let proxy: FaultProxy | undefined;

async function start(server: Promise<S3Server>): Promise<string> {
  const { endpoint, process } = await server;
  processes.push(process);
  return endpoint;
}

beforeAll(async () => {
  process.env.AWS_ACCESS_KEY_ID = 'test';
  process.env.AWS_SECRET_ACCESS_KEY = 'testtest';
  try {
    const { S3Client, CreateBucketCommand } = await import('@aws-sdk/client-s3');
    const endpoint = await start(startSeaweed(directory.path('data')));
    proxy = await FaultProxy.start(endpoint, 7);
    const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true });
    await client.send(new CreateBucketCommand({ Bucket: 'jobs' }));
  } catch (error) {
    missing = `SeaweedFS or the AWS SDK cannot be installed or started here: ${error}`;
  }
}, 180_000);
afterAll(async () => {
  proxy?.stop();
  await Promise.all(processes.map(stopServer));
});

function at(address: string): Promise<JobStores> {
  const limits = { retries: 12, backoffMs: 1, stallMs: 5_000 };
  return openJobStores(address, { s3: { endpoint: proxy?.endpoint ?? '', ...limits } });
}

it('two workers at a time make the bytes of one machine while 20 % of all requests go wrong', async ({
  skip,
}) => {
  if (missing !== undefined || proxy === undefined) return skip(missing);
  const out = directory.path('one machine');
  await cacheLabels({ ...options, out, passes: 1, workers: 1 });
  const wanted = await filesIn(out);
  proxy.share = 0.2;
  const stores = await planned(await at('s3://jobs/faults'), options);
  const results = await Promise.all(
    [0, 1].map(async (i) =>
      runJob(await at('s3://jobs/faults'), { ...WORKER, share: { i, of: 2 } }),
    ),
  );
  expect(results.reduce((sum, { made, verified }) => sum + made + verified, 0)).toBe(SHARDS);
  await finalizeJob(stores, { verify: true });
  // Each kind of fault was there.
  expect(proxy.faults.size).toBe(5);
  proxy.share = 0;
  const store = await openWritableStore('s3://jobs/faults', { s3: { endpoint: proxy.endpoint } });
  expect([...(await store.list())].sort()).toEqual([...wanted.keys()]);
  for (const [name, bytes] of wanted) {
    expect((await contentOf(store, name)).equals(bytes)).toBe(true);
  }
}, 120_000);

it('processes that are killed -9 at each moment lose no shard of a bucket', async ({ skip }) => {
  if (missing !== undefined || proxy === undefined) return skip(missing);
  const job = await KILLED_JOBS.labels();
  const { endpoint } = proxy;
  const place = { address: 's3://jobs/killed', s3: { endpoint } };
  await makeDespiteKills('labels', job, place, 2);
  await requireWhole('labels', job, place);
}, 300_000);

it('what a store refuses is one error before any label is made', async ({ skip }) => {
  if (missing !== undefined || proxy === undefined) return skip(missing);
  const stores = await planned(await at('s3://jobs/refused'), options);
  const onProgress = () => expect.unreachable();
  const run = async () => runJob(await at('s3://jobs/refused'), { ...WORKER, onProgress });
  const other = planJob(stores, { ...options, tau: 5 });
  await expect(other).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
  await expect(other).rejects.toThrow('tau');
  const nowhere = at('s3://no-such-bucket/job').then((none) => planJob(none, options));
  await expect(nowhere).rejects.toMatchObject({ code: 'NOT_FOUND' });
  process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
  const stranger = at('s3://jobs/stranger').then((strange) => planJob(strange, options));
  await expect(stranger).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
  await expect(run()).rejects.toMatchObject({ code: 'PERMISSION_DENIED' });
  process.env.AWS_SECRET_ACCESS_KEY = 'testtest';
  proxy.status = ({ method }) => (method === 'PUT' ? 507 : undefined);
  await expect(run()).rejects.toMatchObject({ code: 'NO_SPACE' });
  const full = at('s3://jobs/full').then((stored) => planJob(stored, options));
  await expect(full).rejects.toMatchObject({ code: 'NO_SPACE' });
  const codec = at('s3://jobs/refused').then((there) => trainJobCodec(there, WORKER));
  // The codec is there: nothing is written.
  expect(await codec).toBe(false);
  proxy.status = () => undefined;
  expect(await jobStatus(stores)).toMatchObject({ shards: { done: 0 } });
});

it('a server that ignores If-None-Match is refused when a job is planned', async ({ skip }) => {
  if (missing !== undefined) skip(missing);
  const endpoint = await start(startRclone(directory.path('rclone')));
  const stores = await openJobStores('s3://bucket/job', { s3: { endpoint, retries: 1 } });
  const plan = planJob(stores, options);
  await expect(plan).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  await expect(plan).rejects.toThrow('If-None-Match');
  expect(await stores.job.list()).toEqual([]);
}, 180_000);
