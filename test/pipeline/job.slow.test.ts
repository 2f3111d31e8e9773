import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { receiptName } from '#src/pipeline/job/receipts.js';
import { runJob } from '#src/pipeline/job/run.js';
import { jobStatus } from '#src/pipeline/job/status.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { randomStream } from '../kernels/support.js';
import { MemoryBucket } from '../store/memory-s3.js';
import { temporaryDirectory } from '../temporary.js';
import {
  dies,
  dying,
  type Files,
  filesIn,
  filesOfBucket,
  inBucket,
  jobOptions,
  planned,
  runAll,
  SHARDS,
  WORKER,
} from './job.js';

const temporary = await temporaryDirectory();
const options = {
  ...(await jobOptions(temporary)),
  codec: { name: 'vqae', dh: 4, dc: 2, k: 4 },
  training: { steps: 20, seed: 3 },
} as const;
const out = temporary.path('one machine');
await cacheLabels({ ...options, out, passes: 1, workers: 1 });
const wanted = await filesIn(out);

describe("a job's archive of a trained codec has the bytes of one machine's", () => {
  test.each([1, 2, 7])('made in a folder in %i parts', async (of) => {
    const folder = temporary.path(`parts ${of}`);
    await runAll(await planned(await openJobStores(folder), options), of);
    expect(await filesIn(folder)).toEqual(wanted);
  });

  test('made in a bucket by workers that are killed at any change of it', async () => {
    const bucket = new MemoryBucket();
    const stores = await planned(await inBucket(bucket), options);
    let kills = 0;
    for (; ; kills++) {
      const when = kills % 2 === 0 ? 'before' : 'after';
      if (!(await dies(dying(stores, kills % 7, when)))) break;
    }
    expect(kills).toBeGreaterThan(9);
    expect(filesOfBucket(bucket)).toEqual(wanted);
  });
});

test('a shard costs few requests, made or found without its receipt, however many others there are', async () => {
  const bucket = new MemoryBucket();
  const stores = await planned(await inBucket(bucket), options);
  /** What a run asks of the bucket for its shards. */
  const run = async () => {
    const { made, verified } = await runJob(stores, {
      ...WORKER,
      runner: {
        async run(work) {
          bucket.asked.length = 0;
          for (let shard = 0; shard < SHARDS; shard++) await work.make(shard);
          return [];
        },
      },
    });
    const asked: Record<string, number> = {};
    for (const kind of bucket.asked) asked[kind] = (asked[kind] ?? 0) + 1;
    return { made, verified, asked };
  };
  // The places of shards and of receipts are probed once: two objects each and their removal.
  expect(await run()).toEqual({
    ...{ made: SHARDS, verified: 0 },
    asked: { Get: SHARDS, Put: 3 * SHARDS + 4, Delete: 2 },
  });
  for (const key of [...bucket.objects.keys()].filter((name) => name.includes('/receipts/'))) {
    bucket.objects.delete(key);
  }
  const found = await run();
  expect(found).toMatchObject({ made: 0, verified: SHARDS, asked: { List: SHARDS, Put: SHARDS } });
  expect(bucket.asked.length).toBeLessThanOrEqual(8 * SHARDS);
});

test('a job of 10,000 shards is finalized by at most 20 requests and that of the manifest', async () => {
  const bucket = new MemoryBucket();
  bucket.page = 1000;
  const many = { ...options, codec: { name: 'topk', k: 2 }, training: undefined } as const;
  const shards = 10_000;
  const grid = { epochs: 1, samples: 24 };
  const stores = await planned(await inBucket(bucket), { ...many, epochs: shards, grid });
  for (let shard = 0; shard < shards; shard++) {
    const hash = (text: string) => createHash('sha256').update(`${text} ${shard}`).digest('hex');
    const receipt = { shard, bytes: 4096 + shard, sha256: hash('a'), indexSha256: hash('b') };
    bucket.objects.set(
      `a/job/receipts/${receiptName({ ...receipt, sums: [21n, 1n, 1n, 1n, 9n] })}`,
      {
        ...{ bytes: Buffer.of(), metadata: undefined, tag: `"${shard}"` },
      },
    );
  }
  expect(await jobStatus(stores)).toMatchObject({ shards: { total: shards, missing: [] } });
  const fresh = await inBucket(bucket);
  bucket.asked.length = 0;
  await finalizeJob(fresh);
  expect(bucket.asked.filter((kind) => kind === 'List').length).toBe(11);
  expect(bucket.asked.length).toBeLessThanOrEqual(21);
  expect(bucket.objects.has('a/manifest.json')).toBe(true);
});

describe('no shard is lost', () => {
  // Of a job of 4 shards: the probe and its removal; what was measured, shard and receipt of each; codec, table, manifest.
  const CHANGES = 17;
  const small = { ...options, codec: { name: 'topk', k: 2 }, training: undefined } as const;
  const few = { ...small, epochs: 2, grid: { epochs: 1, samples: 16 } } as const;
  const plannedBucket = new MemoryBucket();
  let wanted: Files;
  let kills = 0;
  beforeAll(async () => {
    const out = temporary.path('small');
    await cacheLabels({ ...few, out, passes: 1, workers: 1 });
    wanted = await filesIn(out);
    await planned(await inBucket(plannedBucket), few);
  });

  test.each(Array.from({ length: 20 }, (_, seed) => seed))('by kills of seed %i', async (seed) => {
    const random = randomStream(100 + seed);
    const bucket = new MemoryBucket();
    for (const [name, object] of plannedBucket.objects) bucket.objects.set(name, object);
    const stores = await inBucket(bucket);
    for (;;) {
      const at = Math.floor(random() * CHANGES);
      if (!(await dies(dying(stores, at, random() < 0.5 ? 'before' : 'after')))) break;
      kills++;
    }
    expect(filesOfBucket(bucket)).toEqual(wanted);
  });

  test('by any of them', () => expect(kills).toBeGreaterThan(20));
});
