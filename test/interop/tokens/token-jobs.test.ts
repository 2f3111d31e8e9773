import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { labelTexts } from '#src/interop/label-texts.js';
import { planTokenJob, type TokenJobOptions } from '#src/interop/token-jobs.js';
import { trainJobCodec } from '#src/pipeline/job/codec.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { runJob } from '#src/pipeline/job/run.js';
import { jobStatus } from '#src/pipeline/job/status.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { verifyArchive } from '#src/pipeline/verify.js';
import { forge } from '../../pipeline/forged-job.js';
import { dies, dying, type Files, filesIn, filesOfBucket, inBucket } from '../../pipeline/job.js';
import { MemoryBucket } from '../../store/memory-s3.js';
import { temporaryDirectory } from '../../temporary.js';
import { kinds, load, SHARDS, TEXTS, tokenJob } from './token-job.js';

const temporary = await temporaryDirectory();
const { options, planned } = await tokenJob(temporary);

let wanted: Files;
beforeAll(async () => {
  const out = temporary.path('one machine');
  await labelTexts({ ...options, out }, load);
  wanted = await filesIn(out);
  expect(wanted.size).toBe(SHARDS + 3);
});

describe("a job's archive of labels of texts has the bytes of one machine's", () => {
  test.each([
    [1, [0]],
    [3, [1, 2, 0]],
  ])('made in %i parts', async (of, order) => {
    const folder = temporary.path(`parts ${of}`);
    const stores = await planned(await openJobStores(folder));
    expect(await jobStatus(stores, { kinds })).toMatchObject({
      ...{ kind: 'tokens', unit: 'texts', total: TEXTS, done: 0, finished: false },
      shards: { total: SHARDS, done: 0, missing: [0, 1, 2] },
    });
    for (const i of order) {
      const { made } = await runJob(stores, { kinds, share: { i, of } });
      expect(made).toBe(SHARDS / of);
    }
    // A planner was killed while it wrote the texts, another one came after it.
    const [texts] = await stores.job.list('texts-');
    const left = await temporary.file(`parts ${of}/job/${texts}.tmp-0123456789abcdef`, 'half');
    await finalizeJob(stores, { kinds, verify: true });
    expect(existsSync(left)).toBe(false);
    expect(await filesIn(folder)).toEqual(wanted);
    expect((await verifyArchive(folder)).damage).toEqual([]);
    // Each step again finds nothing to do.
    await planTokenJob(stores, options, undefined, load);
    expect(await trainJobCodec(stores, { kinds })).toBe(false);
    expect(await runJob(stores, { kinds })).toMatchObject({ skipped: SHARDS, made: 0 });
    await finalizeJob(stores, { kinds });
    expect(await jobStatus(stores, { kinds })).toMatchObject({ finished: true, done: TEXTS });
    expect(await filesIn(folder)).toEqual(wanted);
  });

  test('made in a bucket by workers that die at any change of it', async () => {
    const bucket = new MemoryBucket();
    const stores = await planned(await inBucket(bucket));
    let kills = 0;
    for (; ; kills++) {
      const when = kills % 2 === 0 ? 'before' : 'after';
      if (!(await dies(dying(stores, kills % 6, when), { kinds }))) break;
    }
    expect(kills).toBeGreaterThan(5);
    expect(filesOfBucket(bucket)).toEqual(wanted);
  });
});

describe('is refused', () => {
  const plan = async (name: string, changes: Partial<TokenJobOptions>) =>
    planTokenJob(
      await openJobStores(temporary.path(name)),
      { ...options, ...changes },
      undefined,
      load,
    );

  test('another job in the same place, naming what differs', async () => {
    await plan('foreign', {});
    const other = plan('foreign', { seed: 4 });
    await expect(other).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await expect(other).rejects.toThrow('codec.seed');
    await expect(plan('foreign', { draws: 9 })).rejects.toThrow('codec.samples');
    const texts = await temporary.file('others.txt', 'other texts');
    await expect(plan('foreign', { source: texts })).rejects.toThrow('found');
  });

  test('a place with something else, a missing model or text, a prompt to be answered', async () => {
    await expect(plan('', {})).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    const missing = temporary.path('missing');
    await expect(plan('a', { model: missing })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(plan('a', { source: missing })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const open = await temporary.file('open.jsonl', '{"prompt": "why?"}');
    await expect(plan('a', { source: open })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    const draws = plan('a', { codec: 'topk', draws: 3 });
    await expect(draws).rejects.toMatchObject({ field: 'draws' });
    await expect(plan('a', { shardTexts: 0 })).rejects.toMatchObject({ field: 'shardTexts' });
  });

  test('a job that was forged with the right hash', async () => {
    const folder = temporary.path('forged');
    const stores = await planned(await openJobStores(folder));
    await forge(`${folder}/job/job.json`, () => jobStatus(stores, { kinds }));
  });

  test('work by a machine with another model, without the texts, or of another kind', async () => {
    const stores = await openJobStores(temporary.path('elsewhere'));
    await planTokenJob(stores, options, undefined, load);
    await expect(runJob(stores, { kinds })).rejects.toMatchObject({ code: 'INCOMPLETE' });
    const teacher = await temporary.file('other.gguf', 'other weights');
    const other = trainJobCodec(stores, { kinds, teacher });
    await expect(other).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(other).rejects.toThrow('modelSha256');
    const images = temporary.path('images');
    const strange = trainJobCodec(stores, { kinds, images });
    await expect(strange).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', field: 'images' });
    await expect(runJob(stores)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    // The same model under another path is the model.
    const moved = await temporary.file('moved.gguf', 'weights');
    expect(await trainJobCodec(stores, { kinds, teacher: moved })).toBe(true);
    const [texts] = (await stores.job.list()).filter((name) => name.startsWith('texts-'));
    await rm(temporary.path(`elsewhere/job/${texts}`));
    await expect(runJob(stores, { kinds })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
