import { beforeAll, describe, expect, test } from 'vitest';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { runJob } from '#src/pipeline/job/run.js';
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
    const asked = bucket.asked.reduce<Record<string, number>>(
      (counts, kind) => ({ ...counts, [kind]: (counts[kind] ?? 0) + 1 }),
      {},
    );
    return { made, verified, asked };
  };
  // The bucket is probed once: two objects and their removal.
  expect(await run()).toEqual({
    ...{ made: SHARDS, verified: 0 },
    asked: { Get: SHARDS, Put: 3 * SHARDS + 2, Delete: 1 },
  });
  for (const key of [...bucket.objects.keys()].filter((name) => name.includes('/receipts/'))) {
    bucket.objects.delete(key);
  }
  const found = await run();
  expect(found).toMatchObject({ made: 0, verified: SHARDS, asked: { List: SHARDS, Put: SHARDS } });
  expect(bucket.asked.length).toBeLessThanOrEqual(8 * SHARDS);
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
