import { describe, expect, test } from 'vitest';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { MemoryBucket } from '../store/memory-s3.js';
import { temporaryDirectory } from '../temporary.js';
import {
  dies,
  dying,
  filesIn,
  filesOfBucket,
  inBucket,
  jobOptions,
  planned,
  runAll,
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
