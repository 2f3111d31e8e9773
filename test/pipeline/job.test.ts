import { existsSync } from 'node:fs';
import { cp, mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { cacheLabels } from '#src/pipeline/cache-labels.js';
import { trainJobCodec } from '#src/pipeline/job/codec.js';
import { finalizeJob } from '#src/pipeline/job/finalize.js';
import { planJob } from '#src/pipeline/job/plan.js';
import { runJob } from '#src/pipeline/job/run.js';
import type { ShardRunner } from '#src/pipeline/job/runner.js';
import { jobStatus, numberRanges } from '#src/pipeline/job/status.js';
import { openJobStores } from '#src/pipeline/job/stores.js';
import { MemoryBucket } from '../store/memory-s3.js';
import { temporaryDirectory } from '../temporary.js';
import { forge } from './forged-job.js';
import {
  dies,
  dying,
  EPOCHS,
  type Files,
  filesIn,
  filesOfBucket,
  IMAGES,
  inBucket,
  jobOptions,
  planned,
  runAll,
  SHARDS,
  WORKER,
} from './job.js';

const temporary = await temporaryDirectory();
const options = await jobOptions(temporary);

let wanted: Files;
beforeAll(async () => {
  const out = temporary.path('one machine');
  await cacheLabels({ ...options, out, passes: 1, workers: 1 });
  wanted = await filesIn(out);
});

test("a job's archive in a folder has the bytes of one machine's", async () => {
  const folder = temporary.path('parts');
  const stores = await planned(await openJobStores(folder), options);
  expect(await jobStatus(stores)).toMatchObject({
    ...{ codec: true, finished: false, unit: 'labels', total: EPOCHS * IMAGES, done: 0 },
    shards: { total: SHARDS, done: 0 },
  });
  // A worker was killed while it wrote a shard.
  await temporary.file('parts/codes-00001.safetensors.tmp-0123456789abcdef', 'half a shard');
  // And others while they wrote small files of the job.
  const left = ['job.json', 'codec.safetensors'].map((name) => `job/${name}.tmp-0123456789abcdef`);
  for (const name of left) await temporary.file(`parts/${name}`, 'half a file');
  await runAll(stores, 2);
  expect(await filesIn(folder)).toEqual(wanted);
  for (const name of left) expect(existsSync(temporary.path(`parts/${name}`))).toBe(false);
  expect(await jobStatus(stores)).toMatchObject({ finished: true, shards: { missing: [] } });
  // Each step again finds nothing to do.
  await planJob(stores, options);
  expect(await trainJobCodec(stores, WORKER)).toBe(false);
  expect(await runJob(stores, WORKER)).toEqual({
    skipped: SHARDS,
    verified: 0,
    made: 0,
    setAside: [],
  });
  await finalizeJob(stores, { verify: true });
  expect(await filesIn(folder)).toEqual(wanted);
});

test('a worker that is killed leaves in a bucket what the next one completes, to the same bytes', async () => {
  const bucket = new MemoryBucket();
  const stores = await planned(await inBucket(bucket), options);
  // Of a run: probe, its removal, the shard with what was measured of it before it shows, its receipt.
  expect(await dies(dying(stores, 2, 'after'))).toBe(true);
  expect(await dies(dying(stores, 5, 'before'))).toBe(true);
  await expect(finalizeJob(stores)).rejects.toMatchObject({
    ...{ code: 'INCOMPLETE', found: 'without 1-8' },
  });
  expect(await runJob(stores, WORKER)).toEqual({ skipped: 1, verified: 1, made: 7, setAside: [] });
  for (const at of [0, 1, 2]) {
    expect(await dies(dying(stores, at, at === 1 ? 'before' : 'after'))).toBe(true);
  }
  bucket.asked.length = 0;
  await finalizeJob(await inBucket(bucket));
  // A job of 10,000 shards takes 10 listings besides.
  expect(bucket.asked.filter((kind) => kind !== 'List').length).toBeLessThanOrEqual(10);
  expect(filesOfBucket(bucket)).toEqual(wanted);
});

test('a runner that asks late hears of shards that others made meanwhile', async () => {
  const stores = await planned(await inBucket(new MemoryBucket()), options);
  const missing: number[] = [];
  const runner: ShardRunner = {
    async run(work) {
      await runJob(stores, { ...WORKER, share: { i: 1, of: SHARDS } });
      missing.push(...(await work.missing()));
      return [];
    },
  };
  await runJob(stores, { ...WORKER, runner });
  expect(missing).toEqual([0, 2, 3, 4, 5, 6, 7, 8]);
});

test('a job that was forged with the right hash is a typed error', async () => {
  const folder = temporary.path('forged');
  const stores = await planned(await openJobStores(folder), options);
  await forge(`${folder}/job/job.json`, () => jobStatus(stores));
});

test('numbers are told in ranges', () => {
  expect(numberRanges([])).toBe('');
  expect(numberRanges([3, 17, 18, 19, 20])).toBe('3,17-20');
  expect(numberRanges([0, 1, 3, 5, 6])).toBe('0-1,3,5-6');
});

describe('is refused before any label is made', () => {
  test('another job in the same place', async () => {
    const stores = await openJobStores(temporary.path('foreign'));
    await planJob(stores, options);
    const other = planJob(stores, { ...options, augmentation: { seed: 1 } });
    await expect(other).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    await expect(other).rejects.toThrow('augmentation.seed');
  });

  test('work by a machine with another teacher or other images, in whatever folders', async () => {
    const stores = await planned(await openJobStores(temporary.path('elsewhere')), options);
    const [teacher, images] = ['other/model.onnx', 'moved'].map((name) => temporary.path(name));
    await cp(options.teacher, teacher);
    await cp(options.images, images, { recursive: true });
    const run = (change: object) => runJob(stores, { ...WORKER, teacher, images, ...change });
    expect(await run({ share: { i: 0, of: SHARDS } })).toMatchObject({ made: 1 });
    await expect(run({ statistics: 'x' })).rejects.toMatchObject({ field: 'statistics' });
    await expect(run({ teacher: temporary.path('none.onnx') })).rejects.toMatchObject({
      ...{ code: 'NOT_FOUND', field: temporary.path('none.onnx') },
    });
    await cp(`${images}/01.png`, `${images}/00.png`);
    await expect(run({})).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', message: expect.stringContaining('images.fingerprint') },
    });
    await cp(fileURLToPath(new URL('../nn/models/onnx-nhwc/model.onnx', import.meta.url)), teacher);
    await expect(run({ images: options.images })).rejects.toMatchObject({
      ...{ code: 'INVALID_ARGUMENT', message: expect.stringContaining('teacher') },
    });
  });

  test('a place with something else', async () => {
    const place = temporary.path('taken');
    await mkdir(place);
    await temporary.file('taken/something', 'x');
    const stores = await openJobStores(place);
    const plan = planJob(stores, options);
    await expect(plan).rejects.toMatchObject({ code: 'ALREADY_EXISTS', found: 'something' });
  });

  test.each([
    ['a bad credential', 403, 'PERMISSION_DENIED'],
    ['a missing bucket', 404, 'NOT_FOUND'],
    ['a full store', 507, 'NO_SPACE'],
  ] as const)('%s', async (_, status, code) => {
    const bucket = new MemoryBucket();
    const stores = await planned(await inBucket(bucket), options);
    bucket.fault = (kind, when) => {
      if (when === 'after' || (status === 507 && kind !== 'Put')) return;
      throw Object.assign(new Error('x'), { name: 'x', $metadata: { httpStatusCode: status } });
    };
    const empty = await inBucket(bucket, 'other');
    await expect(planJob(empty, options)).rejects.toMatchObject({ code });
    const onProgress = () => expect.unreachable();
    await expect(runJob(stores, { ...WORKER, onProgress })).rejects.toMatchObject({ code });
  });

  test('work without a job, or without its codec', async () => {
    const stores = await openJobStores(temporary.path('none'));
    await expect(runJob(stores, WORKER)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await planJob(stores, options);
    await expect(runJob(stores, WORKER)).rejects.toMatchObject({ code: 'INCOMPLETE' });
  });

  test.each([
    ['no codec', { codec: undefined }, 'INVALID_ARGUMENT', 'codec'],
    ['a codec that looks at all labels', { codec: { name: 'mean' } }, 'UNSUPPORTED', 'codec'],
    ['a grid that cuts bytes', { grid: { epochs: 1, samples: 12 } }, 'INVALID_ARGUMENT', 'grid'],
  ] as const)('%s', async (name, change, code, field) => {
    const stores = await openJobStores(temporary.path(`refused ${name}`));
    const plan = planJob(stores, { ...options, ...change });
    await expect(plan).rejects.toMatchObject({ code });
    await expect(plan).rejects.toThrow(field);
  });
});

describe('a codec that learns from all labels is refused if they are many', () => {
  const augmentation = (mix: 'cutmix' | 'none') => ({
    augmentation: { mix: mix === 'none' ? { kind: mix } : { kind: mix, alpha: 1, probability: 1 } },
  });
  // Of 21 images: 130,998 and 131,082 labels.
  test.each([
    [{ name: 'transform', rate: 8 }, 6238, 'cutmix', true],
    [{ name: 'transform', rate: 8 }, 6242, 'cutmix', false],
    [{ name: 'transform', rate: 8 }, 6242, 'none', false],
    [{ name: 'transform', rate: 8, bases: false }, 6242, 'cutmix', true],
    [{ name: 'predictive', rate: 8, bases: false }, 6242, 'cutmix', false],
    [{ name: 'predictive', rate: 8, bases: false, network: false }, 6242, 'cutmix', true],
    [{ name: 'topk', k: 2 }, 6242, 'cutmix', true],
  ] as const)('%o of %i epochs, %s', async (codec, epochs, mix, taken) => {
    const name = `scanned ${JSON.stringify(codec)} ${epochs} ${mix}`.replaceAll('"', '');
    const stores = await openJobStores(temporary.path(name));
    const plan = planJob(stores, {
      ...options,
      ...augmentation(mix),
      codec,
      epochs,
      grid: undefined,
    });
    if (taken) await expect(plan).resolves.toMatchObject({ content: {} });
    else await expect(plan).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });
});
